"""Read a responses body into the hub's words.

What has no word goes to `extras` under its full path, so that a target of another dialect refuses
it by name. Left out is only null and what says the protocol's default, and:

| asked | where another dialect is written |
| --- | --- |
| `include: reasoning.encrypted_content` | done anyway: what an author signed always goes back |
| `reasoning.summary` without an effort | done anyway: all thinking that a target shows is shown |
| `tool_choice: allowed_tools` | the other tools are not told of |
| `store: false` | what happens: nobody else keeps answers. `store: true` is refused |
| `stream_options` | nothing: it speaks of this side's stream only |
"""

from typing import Any

from llm_gateway.adapters.counting import text_or_none
from llm_gateway.adapters.fields import Fields, other_names, wrong
from llm_gateway.adapters.openai_responses.items import read_input
from llm_gateway.types import (
    ChatRequest,
    Message,
    Reasoning,
    ResponseFormat,
    TextPart,
    Tool,
    ToolChoice,
)

Extras = dict[str, Any]
_DEFAULTS: dict[str, tuple[object, ...]] = {
    "background": (False,),
    "store": (False,),
    "truncation": ("disabled",),
    "context_management": ([],),
}
_CHOICES = {
    "auto": ToolChoice(mode="auto"),
    "none": ToolChoice(mode="none"),
    "required": ToolChoice(mode="required"),
}
_LOGPROBS, _ENCRYPTED = "message.output_text.logprobs", "reasoning.encrypted_content"


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    fields, extras = Fields(body), Extras()
    for name, defaults in _DEFAULTS.items():
        fields.drop(name, *defaults)
    fields.take("stream_options")
    likely, alternatives = _logprobs(fields, extras)
    tools, choice = _allowed(_tools(fields, extras), fields.take("tool_choice"), extras)
    request = ChatRequest(
        model=fields.required("model"),
        messages=_messages(fields, extras),
        stream=bool(fields.flag("stream")),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        logprobs=likely,
        top_logprobs=alternatives,
        response_format=_text(fields, extras),
        reasoning=_reasoning(fields, extras),
        user=_user(fields),
        service_tier=fields.text("service_tier"),
        metadata=fields.mapping("metadata") or None,
        extras=extras,
        named=other_names(body, user="safety_identifier", include="top_logprobs"),
    )
    fields.close(extras)
    return request


def _messages(fields: Fields, extras: Extras) -> tuple[Message, ...]:
    instructions = fields.text("instructions")
    said = read_input(fields, extras)
    if not instructions:
        return tuple(said)
    return (Message(role="system", parts=(TextPart(text=instructions),)), *said)


def _user(fields: Fields) -> str | None:
    """Return the end user: `safety_identifier` is the newer name of `user`."""
    old, new = fields.text("user"), fields.text("safety_identifier")
    return new or old


def _logprobs(fields: Fields, extras: Extras) -> tuple[bool, int | None]:
    """Return whether tokens' likelihoods are asked for, and of how many in each place."""
    alternatives = fields.integer("top_logprobs") or None
    wanted = fields.texts("include")
    for index, name in enumerate(wanted):
        if name not in {_LOGPROBS, _ENCRYPTED}:
            extras[f"include[{index}]"] = name
    return _LOGPROBS in wanted or alternatives is not None, alternatives


def _reasoning(fields: Fields, extras: Extras) -> Reasoning | None:
    wanted = fields.inner("reasoning")
    if wanted is None:
        return None
    wanted.drop("context", "auto")
    wanted.drop("mode", "standard")
    summary, older = wanted.text("summary"), wanted.text("generate_summary")
    effort = wanted.text("effort")
    wanted.close(extras)
    if effort is None:
        return None
    return Reasoning(
        enabled=effort != "none",
        effort=None if effort == "none" else effort,
        visible=bool(summary or older),
    )


def _tools(fields: Fields, extras: Extras) -> tuple[Tool, ...]:
    tools = []
    for index, item in enumerate(fields.array("tools")):
        tool = Fields(item, f"tools[{index}]")
        if tool.text("type") != "function":
            extras[tool.at("type")] = item
            continue
        tool.drop("defer_loading", False)
        tool.drop("allowed_callers", ["direct"])
        tools.append(
            Tool(
                name=tool.required("name"),
                description=tool.text("description"),
                schema=tool.mapping("parameters"),
                strict=tool.flag("strict"),
            )
        )
        tool.close(extras)
    return tuple(tools)


def _allowed(
    tools: tuple[Tool, ...], choice: object, extras: Extras
) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """Return the tools that may be called, and which must be: other tools are not told of."""
    if choice is None:
        return tools, None
    if isinstance(choice, str) and choice in _CHOICES:
        return tools, _CHOICES[choice]
    given = Fields(choice, "tool_choice")
    kind, mode = given.text("type"), given.text("mode")
    if kind == "function":
        wanted = ToolChoice(mode="named", name=given.required("name"))
        given.close(extras)
        return tools, wanted
    named = _functions(given.array("tools"))
    allowed = tuple(tool for tool in tools if tool.name in named)
    if kind == "allowed_tools" and len(allowed) == len(named) > 0:
        return allowed, ToolChoice(mode="required" if mode == "required" else "auto")
    extras["tool_choice"] = choice
    return tools, None


def _functions(named: list[Any]) -> set[str | None]:
    """Return the names of functions; for a tool of another kind one that no function has."""
    return {
        text_or_none(tool.get("name"))
        if isinstance(tool, dict) and tool.get("type") == "function"
        else None
        for tool in named
    }


def _text(fields: Fields, extras: Extras) -> ResponseFormat | None:
    text = fields.inner("text")
    if text is None:
        return None
    text.drop("verbosity", "medium")
    form = text.inner("format")
    text.close(extras)
    return None if form is None else _format(form, extras)


def _format(form: Fields, extras: Extras) -> ResponseFormat:
    kind = form.required("type")
    if kind not in {"text", "json_object", "json_schema"}:
        raise wrong(form.at("type"), "text, json_object or json_schema")
    if kind != "json_schema":
        form.close(extras)
        return ResponseFormat(kind="json" if kind == "json_object" else "text")
    result = ResponseFormat(
        kind="schema",
        name=form.text("name"),
        schema=form.mapping("schema"),
        strict=form.flag("strict"),
        description=form.text("description"),
    )
    form.close(extras)
    return result

"""Read a chat body into the hub's words.

What has no word goes to `extras` under its full path, so that a target of another dialect refuses
it by name. Left out is only null and what says the protocol's default (`n: 1`, `store: false`).
`stream_options` speaks of this side's stream only and does not cross.

Three fields are extensions that compatible servers and our own answers use: `reasoning_content`,
the text of earlier reasoning; `thinking_blocks`, the same with signatures, of which the text is a
copy where both stand; and `extra_content.google.thought_signature`, of a message or of a tool call,
what Google signed.
"""

from typing import Any

from llm_gateway.adapters.fields import Fields, other_names, wrong
from llm_gateway.adapters.openai_chat.messages import read_message
from llm_gateway.types import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice

_DEFAULTS: dict[str, tuple[object, ...]] = {
    "audio": ({},),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "store": (False,),
    "verbosity": ("medium",),
}


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    fields, extras = Fields(body), dict[str, Any]()
    for name, defaults in _DEFAULTS.items():
        fields.drop(name, *defaults)
    fields.take("stream_options")
    request = ChatRequest(
        model=fields.required("model"),
        messages=tuple(read_message(item, extras) for item in fields.objects("messages")),
        stream=bool(fields.flag("stream")),
        tools=_tools(fields, extras),
        tool_choice=_tool_choice(fields, extras),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        max_tokens=_max_tokens(fields),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=fields.texts("stop"),
        seed=fields.integer("seed"),
        choices=fields.integer("n") or 1,
        frequency_penalty=fields.number("frequency_penalty") or None,
        presence_penalty=fields.number("presence_penalty") or None,
        logit_bias=fields.mapping("logit_bias") or None,
        logprobs=bool(fields.flag("logprobs")),
        top_logprobs=fields.integer("top_logprobs") or None,
        response_format=_response_format(fields, extras),
        reasoning=_reasoning(fields),
        user=_user(fields),
        service_tier=fields.text("service_tier"),
        metadata=fields.mapping("metadata") or None,
        extras=extras,
        named=other_names(body, user="safety_identifier", max_tokens="max_completion_tokens"),
    )
    fields.close(extras)
    return request


def _max_tokens(fields: Fields) -> int | None:
    old, new = fields.integer("max_tokens"), fields.integer("max_completion_tokens")
    return old if new is None else new


def _user(fields: Fields) -> str | None:
    """Return the end user: `safety_identifier` is the newer name of `user`."""
    old, new = fields.text("user"), fields.text("safety_identifier")
    return new or old


def _reasoning(fields: Fields) -> Reasoning | None:
    effort = fields.text("reasoning_effort")
    if effort is None:
        return None
    return Reasoning(enabled=effort != "none", effort=None if effort == "none" else effort)


def _tools(fields: Fields, extras: dict[str, Any]) -> tuple[Tool, ...]:
    tools = []
    for index, item in enumerate(fields.array("tools")):
        tool = Fields(item, f"tools[{index}]")
        if (tool.text("type") or "function") != "function":  # Mistral's own client leaves it out
            extras[tool.at("type")] = item
            continue
        function = tool.inner("function")
        if function is None:
            raise wrong(tool.at("function"), "an object")
        tools.append(
            Tool(
                name=function.required("name"),
                description=function.text("description"),
                schema=function.mapping("parameters"),
                strict=function.flag("strict"),
            )
        )
        function.close(extras)
        tool.close(extras)
    return tuple(tools)


def _tool_choice(fields: Fields, extras: dict[str, Any]) -> ToolChoice | None:
    value = fields.take("tool_choice")
    if value in {"auto", "none", "required"} if isinstance(value, str) else value is None:
        return ToolChoice(mode=value) if value else None
    choice = Fields(value, "tool_choice")
    function = choice.inner("function")
    if choice.text("type") != "function" or function is None:
        extras["tool_choice"] = value
        return None
    name = function.required("name")
    function.close(extras)
    choice.close(extras)
    return ToolChoice(mode="named", name=name)


def _response_format(fields: Fields, extras: dict[str, Any]) -> ResponseFormat | None:
    wanted = fields.inner("response_format")
    if wanted is None:
        return None
    kind = wanted.text("type")
    if kind == "json_schema":
        return _schema_format(wanted, extras)
    if kind not in {"text", "json_object"}:
        extras["response_format"] = kind
    wanted.close(extras)
    return ResponseFormat(kind="json" if kind == "json_object" else "text")


def _schema_format(wanted: Fields, extras: dict[str, Any]) -> ResponseFormat:
    schema = wanted.inner("json_schema")
    if schema is None:
        raise wrong(wanted.at("json_schema"), "an object")
    result = ResponseFormat(
        kind="schema",
        name=schema.text("name"),
        schema=schema.mapping("schema"),
        strict=schema.flag("strict"),
        description=schema.text("description"),
    )
    schema.close(extras)
    wanted.close(extras)
    return result

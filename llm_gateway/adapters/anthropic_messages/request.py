"""Read a messages body into the hub's words.

What has no word goes to `extras` under its full path, so that a target of another dialect refuses
it by name. Left out is only null and what says the protocol's default. A top-level `cache_control`
asks for automatic caching; the dialects we write either cache by themselves or by marks, so it
becomes a mark on the last part. `eager_input_streaming` asks for arguments as they are written:
nobody else keeps them back.
"""

from typing import Any

import msgspec

from llm_gateway.adapters.anthropic_messages.blocks import cache_mark, read_blocks
from llm_gateway.adapters.fields import Fields, wrong
from llm_gateway.adapters.refusal import check_speaker
from llm_gateway.types import (
    ChatRequest,
    Message,
    Reasoning,
    ResponseFormat,
    Role,
    Tool,
    ToolChoice,
)

Extras = dict[str, Any]
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_TIERS = {"standard_only": "default"}
_CHOICES: dict[str, ToolChoice] = {
    "auto": ToolChoice(mode="auto"),
    "none": ToolChoice(mode="none"),
    "any": ToolChoice(mode="required"),
}
_DEFAULTS: dict[str, tuple[object, ...]] = {"mcp_servers": ([],), "context_management": ({},)}


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    fields, extras = Fields(body), Extras()
    for name, defaults in _DEFAULTS.items():
        fields.drop(name, *defaults)
    choice, parallel = _tool_choice(fields, extras)
    tier = fields.text("service_tier")
    request = ChatRequest(
        model=fields.required("model"),
        messages=_messages(fields, extras),
        stream=bool(fields.flag("stream")),
        tools=_tools(fields, extras),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=fields.texts("stop_sequences"),
        user=_user(fields, extras),
        service_tier=_TIERS.get(tier or "", tier),
        **_output(fields, extras),
        extras=extras,
        named=_named(body),
    )
    fields.close(extras)
    return request


def _named(body: dict[str, Any]) -> dict[str, str]:
    """Return by which name thinking and a schema were asked for, where it is not the usual one."""
    effort = {} if body.get("thinking") else {"thinking": "output_config.effort"}
    older = {"output_config.format": "output_format"} if body.get("output_format") else {}
    return {**effort, **older}


def _messages(fields: Fields, extras: Extras) -> tuple[Message, ...]:
    messages = [_message(item, extras) for item in fields.objects("messages")]
    mark = cache_mark(fields)
    if mark is not None and messages and messages[-1].parts:
        *others, last = messages[-1].parts
        marked = msgspec.structs.replace(last, cache=mark) if hasattr(last, "cache") else last
        messages[-1] = msgspec.structs.replace(messages[-1], parts=(*others, marked))
    system = read_blocks(fields, "system", extras)
    return (Message(role="system", parts=system), *messages) if system else tuple(messages)


def _message(message: Fields, extras: Extras) -> Message:
    role = message.required("role")
    if role not in _ROLES:
        raise wrong(message.at("role"), "user or assistant")
    parts = read_blocks(message, "content", extras)
    message.close(extras)
    said = Message(role=_ROLES[role], parts=parts)
    check_speaker(said, message.at("content"))
    return said


def _user(fields: Fields, extras: Extras) -> str | None:
    metadata = fields.inner("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    metadata.close(extras)
    return user


def _tools(fields: Fields, extras: Extras) -> tuple[Tool, ...]:
    tools = []
    for index, item in enumerate(fields.array("tools")):
        tool = Fields(item, f"tools[{index}]")
        kind = tool.text("type")
        if kind not in {None, "custom"}:
            extras[tool.at("type")] = kind
            continue
        tool.drop("defer_loading", False)
        tool.flag("eager_input_streaming")
        tool.drop("allowed_callers", ["direct"])
        tools.append(
            Tool(
                name=tool.required("name"),
                description=tool.text("description"),
                schema=tool.mapping("input_schema"),
                strict=tool.flag("strict"),
                cache=cache_mark(tool),
            )
        )
        tool.close(extras)
    return tuple(tools)


def _tool_choice(fields: Fields, extras: Extras) -> tuple[ToolChoice | None, bool | None]:
    choice = fields.inner("tool_choice")
    if choice is None:
        return None, None
    kind = choice.required("type")
    single = choice.flag("disable_parallel_tool_use")
    if kind == "tool":
        wanted = ToolChoice(mode="named", name=choice.required("name"))
    elif kind in _CHOICES:
        wanted = _CHOICES[kind]
    else:
        raise wrong(choice.at("type"), "auto, any, tool or none")
    choice.close(extras)
    return wanted, None if single is None else not single


def _output(fields: Fields, extras: Extras) -> dict[str, Any]:
    """Return the hub's words for thinking and the form of the output, which share a field."""
    config = fields.inner("output_config")
    effort = config.text("effort") if config else None
    shape = config.inner("format") if config else None
    old = fields.inner("output_format")  # its name while it was in beta
    if config is not None:
        config.close(extras)
    return {
        "response_format": _format(shape or old, extras),
        "reasoning": _reasoning(fields.inner("thinking"), effort, extras),
    }


def _format(shape: Fields | None, extras: Extras) -> ResponseFormat | None:
    if shape is None:
        return None
    if shape.required("type") != "json_schema":
        raise wrong(shape.at("type"), "json_schema")
    schema = shape.mapping("schema")
    shape.close(extras)
    return ResponseFormat(kind="schema", schema=schema, strict=True)  # the protocol guarantees it


def _reasoning(thinking: Fields | None, effort: str | None, extras: Extras) -> Reasoning | None:
    if thinking is None:
        return Reasoning(effort=effort) if effort else None
    kind = thinking.required("type")
    if kind not in {"enabled", "adaptive", "disabled"}:
        raise wrong(thinking.at("type"), "enabled, adaptive or disabled")
    thinking.drop("display", "summarized")
    budget = thinking.integer("budget_tokens")
    thinking.close(extras)
    enabled = kind != "disabled"
    return Reasoning(enabled=enabled, effort=effort, budget=budget, visible=enabled)

"""Read a Gemini request into the hub's words.

What has no word goes to `extras` under its full path, so that a target of another dialect refuses
it by name: tools of Google's own, safety settings, cached contents, files at Google. Left out is
only null and what says the protocol's default, such as filters that are off. `VALIDATED` calls are
those of strict tools, whose objects hold nothing undeclared. `includeThoughts` asks to be shown
what thinking there is; our answers always show it. What a function returns is told in its
description: others have no other place for it.
"""

from typing import Any

import msgspec

from llm_gateway.adapters.fields import wrong
from llm_gateway.adapters.gemini.contents import Turns
from llm_gateway.adapters.gemini.proto import ProtoFields, items, member
from llm_gateway.adapters.gemini.schema import closed, json_schema
from llm_gateway.types import ChatRequest, Message, Reasoning, ResponseFormat, Tool, ToolChoice

Extras = dict[str, Any]
_JSON, _TEXT = "application/json", "text/plain"
_TIERS = {"unspecified": None, "standard": "default", "flex": "flex", "priority": "priority"}
_MODES: dict[str, ToolChoice | None] = {
    "MODE_UNSPECIFIED": None,
    "VALIDATED": None,
    "AUTO": ToolChoice(mode="auto"),
    "NONE": ToolChoice(mode="none"),
    "ANY": ToolChoice(mode="required"),
}
_NO_FILTER = ("OFF", "BLOCK_NONE")
_LEVEL_PREFIX = "THINKING_LEVEL_"


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words; a question for its tokens may hold it as a whole.

    Raises InvalidRequestError naming the field.
    """
    whole = member(body, "generateContentRequest")
    fields, extras = ProtoFields(body if whole is None else whole), Extras()
    fields.take("model")  # the path names it too
    config = fields.inner("generationConfig") or ProtoFields({}, "generationConfig")
    tools = _tools(fields, extras)
    choice, validated = _tool_choice(fields, tools, extras)
    request = ChatRequest(
        model="",
        messages=_messages(fields, extras),
        tools=tuple(map(_strict, tools)) if validated else tools,
        tool_choice=choice,
        max_tokens=config.integer("maxOutputTokens"),
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.integer("topK"),
        stop=config.texts("stopSequences"),
        seed=config.integer("seed"),
        choices=config.integer("candidateCount") or 1,
        frequency_penalty=config.number("frequencyPenalty") or None,
        presence_penalty=config.number("presencePenalty") or None,
        logprobs=bool(config.flag("responseLogprobs")),
        top_logprobs=config.integer("logprobs") or None,
        response_format=_response_format(config, extras),
        reasoning=_reasoning(config, extras),
        service_tier=_tier(fields, extras),
        extras=extras,
    )
    config.drop("responseModalities", [], ["TEXT"])
    config.drop("mediaResolution", "MEDIA_RESOLUTION_UNSPECIFIED")
    config.close(extras)
    _filters(fields, extras)
    fields.drop("store", False)
    fields.close(extras)
    return request


def _messages(fields: ProtoFields, extras: Extras) -> tuple[Message, ...]:
    instruction = fields.inner("systemInstruction")
    messages = []
    if instruction is not None:
        instruction.take("role")  # whatever it says, it is the system's
        parts = Turns(extras).message(instruction).parts
        if any(getattr(part, "text", True) for part in parts):
            messages.append(Message(role="system", parts=parts))
    turns = Turns(extras)
    return (*messages, *(turns.message(content) for content in fields.objects("contents")))


def _tools(fields: ProtoFields, extras: Extras) -> tuple[Tool, ...]:
    tools = []
    for group in fields.objects("tools"):
        for function in group.objects("functionDeclarations"):
            tools.append(_tool(function))
            function.drop("behavior", "UNSPECIFIED", "BLOCKING")
            function.close(extras)
        group.close(extras)
    return tuple(tools)


def _tool(function: ProtoFields) -> Tool:
    description, returned = function.text("description"), _schema(function, "response")
    told = "" if returned is None else f"Returns: {msgspec.json.encode(returned).decode()}"
    return Tool(
        name=function.required("name"),
        description="\n\n".join(filter(None, (description, told))) or None,
        schema=_schema(function, "parameters"),
    )


def _schema(holder: ProtoFields, name: str) -> dict[str, Any] | None:
    """Return a schema that may be given in Google's words or in those of JSON Schema."""
    own, standard = holder.mapping(name), holder.mapping(f"{name}JsonSchema")
    return json_schema(own) if own is not None else standard


def _strict(tool: Tool) -> Tool:
    schema = closed(tool.schema) if tool.schema is not None else None
    return msgspec.structs.replace(tool, schema=schema, strict=True)


def _tool_choice(
    fields: ProtoFields, tools: tuple[Tool, ...], extras: Extras
) -> tuple[ToolChoice | None, bool]:
    """Return which tool is to be called, and whether calls have to keep to their schemas."""
    settings = fields.inner("toolConfig")
    calling = settings.inner("functionCallingConfig") if settings else None
    if settings is not None:
        settings.drop("includeServerSideToolInvocations", False)
        settings.close(extras)
    if calling is None:
        return None, False
    mode, allowed = (calling.text("mode") or "AUTO").upper(), calling.texts("allowedFunctionNames")
    everything = not allowed or set(allowed) == {tool.name for tool in tools}
    calling.close(extras)
    if mode == "ANY" and len(allowed) == 1:
        return ToolChoice(mode="named", name=allowed[0]), False
    if not everything:
        extras[calling.at("allowedFunctionNames")] = list(allowed)
    if mode not in _MODES:
        raise wrong(calling.at("mode"), "AUTO, ANY, NONE or VALIDATED")
    return _MODES[mode], mode == "VALIDATED"


def _filters(fields: ProtoFields, extras: Extras) -> None:
    """Pass over safety settings that ask for no filter: others have none to be switched off."""
    given = fields.take("safetySettings")
    told = isinstance(given, list | dict)
    off = told and all(member(one, "threshold") in _NO_FILTER for one in items(given))
    if given is not None and not off:
        extras["safetySettings"] = given


def _response_format(config: ProtoFields, extras: Extras) -> ResponseFormat | None:
    kind = config.text("responseMimeType")
    own, standard = config.mapping("responseSchema"), config.mapping("responseJsonSchema")
    schema = json_schema(own) if own is not None else standard
    if kind not in {None, _JSON, _TEXT}:
        extras[config.at("responseMimeType")] = kind
        return None
    if schema is not None and kind == _JSON:
        return ResponseFormat(kind="schema", schema=schema)
    if schema is not None:
        raise wrong(config.at("responseMimeType"), f"{_JSON} where a schema is given")
    return ResponseFormat(kind="json" if kind == _JSON else "text") if kind else None


def _reasoning(config: ProtoFields, extras: Extras) -> Reasoning | None:
    thinking = config.inner("thinkingConfig")
    if thinking is None:
        return None
    thinking.flag("includeThoughts")
    budget, level = thinking.integer("thinkingBudget"), thinking.text("thinkingLevel")
    thinking.close(extras)
    effort = (level or "").upper().removeprefix(_LEVEL_PREFIX).lower()
    if budget == 0:
        return Reasoning(enabled=False)
    if budget is not None and budget > 0:
        return Reasoning(budget=budget)
    if effort not in {"", "unspecified"}:
        return Reasoning(effort=effort)
    return None if budget is None else Reasoning()


def _tier(fields: ProtoFields, extras: Extras) -> str | None:
    tier = fields.text("serviceTier")
    if tier is None or tier.lower() in _TIERS:
        return _TIERS[tier.lower()] if tier else None
    extras["serviceTier"] = tier
    return None

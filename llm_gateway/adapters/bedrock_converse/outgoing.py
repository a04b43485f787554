"""Write a Converse body from the hub's words.

| the caller's side says | written |
| --- | --- |
| system and developer messages | `system` blocks in their order, wherever they stood |
| turns of one role after another, results of tools | one turn: roles alternate |
| cache marks | `cachePoint` after what they mark |
| a budget of thinking | `thinking` of Anthropic's models, among the model's own fields |
| `reasoning_effort` | `outputConfig.effort`; none: nothing, it is the default |
| thinking on, no amount | `thinking` that the model measures out itself |
| `top_k` | among the model's own fields |
| a schema for the answer | `outputConfig.textFormat`; strict is a label there |
| `tool_choice: none` | no tools, where none was called before: then they have to be told |
| stop sequences | also asked for: which of them stopped it |
| a tool call's id | refused characters as `_` and their code; one over 64 as a digest |
| a document's name | refused characters as blanks |
| a document as text | the same in base64, as `txt` |
| `metadata` | `requestMetadata` |
| a refusal of an earlier turn | its text |

Refused by name: `n`, `seed`, penalties, `logit_bias`, `logprobs`, `user`, JSON mode without a
schema, `parallel_tool_calls: false`, a temperature above 1, media by URL, image detail, media types
it does not know, names of speakers, unknown service tiers, and every extra but those in `EXTRAS`.
"""

from typing import Any
from urllib.parse import quote

import msgspec

from llm_gateway.adapters.bedrock_converse.turns import cache_point, render_turns, system_blocks
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import known_extras, refuse_wordless, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import (
    ChatRequest,
    Outgoing,
    Quirks,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolCallPart,
)

EXTRAS = frozenset({"additionalModelRequestFields", "guardrailConfig", "performanceConfig"})
WORDLESS = (
    *("n", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs"),
    *("top_logprobs", "user", "parallel_tool_calls"),
)
MAX_TEMPERATURE = 1
STOPPED_BY = "/stop_sequence"
_TIERS = {"default", "priority", "flex", "reserved"}


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    extras = known_extras(request, EXTRAS)
    refuse_wordless(request, WORDLESS)
    fields = {
        "messages": render_turns(request.messages),
        "system": system_blocks(request.messages) or None,
        "inferenceConfig": _inference(request) or None,
        "toolConfig": _tools(request),
        "outputConfig": _output(request) or None,
        "serviceTier": _tier(request.service_tier),
        "requestMetadata": request.metadata,
        "additionalModelResponseFieldPaths": [STOPPED_BY] if request.stop else None,
        **extras,
        "additionalModelRequestFields": _own_fields(request, extras) or None,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    verb = "converse-stream" if request.stream else "converse"
    usual = f"/model/{quote(request.model, safe='')}/{verb}"
    path = path_for("chat", usual, request.model, quirks)
    return outgoing(path, body, quirks.default_headers, stream=request.stream)


def _inference(request: ChatRequest) -> dict[str, Any]:
    if request.temperature is not None and request.temperature > MAX_TEMPERATURE:
        raise unexpressible("temperature", f"it goes up to {MAX_TEMPERATURE}")
    fields = {
        "maxTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tools(request: ChatRequest) -> dict[str, Any] | None:
    choice = request.tool_choice
    if not request.tools:
        return None
    if choice is not None and choice.mode == "none":
        if any(isinstance(part, ToolCallPart) for one in request.messages for part in one.parts):
            raise unexpressible("tool_choice", "a call that was made needs its tool told")
        return None
    written: dict[str, Any] = {"tools": [one for tool in request.tools for one in _tool(tool)]}
    if choice is not None:
        named = {"tool": {"name": choice.name}}
        written["toolChoice"] = {"auto": {"auto": {}}, "required": {"any": {}}}.get(
            choice.mode, named
        )
    return written


def _tool(tool: Tool) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": {"type": "object", **(tool.schema or {"properties": {}})}}
    if tool.strict:
        spec["strict"] = True
    return [{"toolSpec": spec}, *cache_point(tool.cache)]


def _output(request: ChatRequest) -> dict[str, Any]:
    wanted = request.reasoning
    effort = wanted.effort if wanted is not None and wanted.enabled else None
    shape = _text_format(request.response_format)
    return {
        **({} if effort is None else {"effort": effort}),
        **({} if shape is None else {"textFormat": shape}),
    }


def _text_format(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.schema is None:
        raise unexpressible("response_format", "an answer in JSON needs a schema")
    schema = {
        "schema": msgspec.json.encode(wanted.schema).decode(),
        "name": wanted.name,
        "description": wanted.description,
    }
    given = {name: value for name, value in schema.items() if value is not None}
    return {"type": "json_schema", "structure": {"jsonSchema": given}}


def _own_fields(request: ChatRequest, extras: dict[str, Any]) -> dict[str, Any]:
    thinking = _thinking(request.reasoning)
    return {
        **(extras.get("additionalModelRequestFields") or {}),
        **({} if request.top_k is None else {"top_k": request.top_k}),
        **({} if thinking is None else {"thinking": thinking}),
    }


def _thinking(wanted: Reasoning | None) -> dict[str, Any] | None:
    if wanted is None or not wanted.enabled:
        return None
    if wanted.budget is not None:
        return {"type": "enabled", "budget_tokens": wanted.budget}
    return {"type": "adaptive"} if wanted.effort is None else None


def _tier(tier: str | None) -> dict[str, str] | None:
    if tier in {None, "auto"}:
        return None
    if tier not in _TIERS:
        raise unexpressible("service_tier", f"it has no tier '{tier}'")
    return {"type": str(tier)}

"""Write a Gemini request from the hub's words, for a caller of another dialect.

| the caller's side says | written |
| --- | --- |
| system and developer messages | `systemInstruction`, in their order, wherever they stood |
| tools and a schema for the answer | `parametersJsonSchema`, `responseJsonSchema`: as they came; the name of an answer's schema is a label and has no place, a description goes into a schema that has none |
| strict tools | mode `VALIDATED`; where a call is required it holds anyhow |
| a tool's result | `response: {"output": text}`, of a failed one `{"error": text}`; several texts as a list |
| `reasoning_effort` | `thinkingBudget`: minimal 512 · low 1,024 · medium 8,192 · high 24,576 · xhigh and max 32,768 tokens; none: 0. Thoughts are asked to be shown |
| thinking on, no amount | `thinkingBudget: -1`: the model decides |
| a signature of the provider's own | with the call or text it came with; a turn whose first call has none says that it cannot have one |
| a document's name | a text before the document |
| image detail low, high | `mediaResolution` |
| service tier auto, default | nothing, standard |
| a refusal of an earlier turn | its text |
| cache marks | nothing: equal prefixes are cached by themselves, so the mark holds |

Refused by name: `logit_bias`, `user`, `metadata`, one tool call at most, more than five stop
sequences, redacted thinking, names of speakers, tools' media by URL, and every extra but those of
the provider's own that its row names.
"""  # noqa: E501  a table's row is one line

from typing import Any

from llm_gateway.adapters.gemini.call import path_of, resource_of
from llm_gateway.adapters.gemini.turns import render_contents, system_parts
from llm_gateway.adapters.refusal import known_extras, refuse_wordless, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

MAX_STOPS = 5
_BUDGETS = {
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_TIERS = {None: None, "auto": None, "default": "standard", "flex": "flex", "priority": "priority"}
_WORDLESS = ("logit_bias", "user", "metadata", "parallel_tool_calls")


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    path = path_of(request.model, method)
    return outgoing(path, _body(request, quirks), quirks.default_headers, stream=request.stream)


def render_count(request: ChatRequest, quirks: Quirks) -> Outgoing:
    """Return the question how many tokens a request has."""
    whole = {"model": resource_of(request.model), **_body(request, quirks)}
    path = path_of(request.model, "countTokens")
    return outgoing(path, {"generateContentRequest": whole}, quirks.default_headers)


def _body(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    extras = known_extras(request, quirks.extras, signed=True)
    refuse_wordless(request, _WORDLESS)
    config = _given(_config(request))
    system = system_parts(request.messages)
    fields = {
        "contents": render_contents(request.messages),
        "systemInstruction": {"parts": system} if system else None,
        "tools": [{"functionDeclarations": list(map(_tool, request.tools))}]
        if request.tools
        else None,
        "toolConfig": _tool_config(request),
        "generationConfig": config or None,
        "serviceTier": _tier(request.service_tier),
    }
    body = {**_given(fields), **extras}
    for name in quirks.unsupported:
        if name in body or name in config:
            raise unexpressible(name)
    return body


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _config(request: ChatRequest) -> dict[str, Any]:
    return {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "stopSequences": _stop(request.stop),
        "seed": request.seed,
        "candidateCount": request.choices if request.choices > 1 else None,
        "frequencyPenalty": request.frequency_penalty,
        "presencePenalty": request.presence_penalty,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs,
        "thinkingConfig": _thinking(request.reasoning),
        **_response_format(request.response_format),
    }


def _stop(stop: tuple[str, ...]) -> list[str] | None:
    if len(stop) > MAX_STOPS:
        raise unexpressible("stop", f"at most {MAX_STOPS} stop sequences are possible")
    return list(stop) or None


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    if tool.schema is not None:
        written["parametersJsonSchema"] = {"type": "object", **tool.schema}
    return written


def _tool_config(request: ChatRequest) -> dict[str, Any] | None:
    choice, strict = request.tool_choice, any(tool.strict for tool in request.tools)
    mode = _MODES[choice.mode] if choice is not None else None
    if strict and mode in {None, "AUTO"}:
        mode = "VALIDATED"
    if mode is None:
        return None
    calling: dict[str, Any] = {"mode": mode}
    if choice is not None and choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": calling}


def _thinking(wanted: Reasoning | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if not wanted.enabled:
        return {"thinkingBudget": 0}
    budget = wanted.budget
    if budget is None and wanted.effort is not None:
        budget = _BUDGETS.get(wanted.effort)
        if budget is None:
            raise unexpressible("reasoning_effort", f"it has no effort '{wanted.effort}'")
    return {"thinkingBudget": -1 if budget is None else budget, "includeThoughts": True}


def _response_format(wanted: ResponseFormat | None) -> dict[str, Any]:
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.schema is None:
        return {"responseMimeType": "application/json"}
    about = {} if wanted.description is None else {"description": wanted.description}
    return {
        "responseMimeType": "application/json",
        "responseJsonSchema": {**about, **wanted.schema},
    }


def _tier(tier: str | None) -> str | None:
    if tier not in _TIERS:
        raise unexpressible("service_tier", f"it has no tier '{tier}'")
    return _TIERS[tier]

"""Write a Cohere chat body from the hub's words.

| the caller's side says | written |
| --- | --- |
| system and developer messages | a `system` message in its place |
| a tool's result that failed | its text after `Error: `: the protocol has no mark for it |
| a document as text | a text part, under its name |
| thinking of a turn that called tools | `tool_plan`; of another one a `thinking` part |
| a refusal of an earlier turn | its text |
| cache marks | nothing: the provider caches equal prefixes by itself, so the mark holds |
| `tool_choice` of a name | REQUIRED, where it is the only tool |
| `strict` on every tool | `strict_tools`: the protocol says it for all of them |
| `reasoning_effort` | a budget of thinking: minimal 1,024 · low 2,048 · medium 8,192 · high 16,384 tokens; above without one; none: off |
| a schema or JSON mode | `response_format` of `json_object`; name, description and strict are labels there |
| service tier auto, default | nothing: there is one |

Refused by name: `n`, `logit_bias`, `logprobs`, `user`, `metadata`, `parallel_tool_calls: false`, a
choice among several tools, strict on some tools, signed thinking, audio, documents that are no
text, media in a tool's result, names of speakers, more than five stop sequences, other service
tiers, and every extra but those in `EXTRAS`.
"""  # noqa: E501  a table's row is one line

from typing import Any

from llm_gateway.adapters.cohere.turns import render_message
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import known_extras, refuse_wordless, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

PATH = "/v2/chat"
MAX_STOPS = 5
EXTRAS = frozenset({"citation_options", "documents", "priority", "safety_mode"})
WORDLESS = (
    *("n", "logit_bias", "logprobs", "top_logprobs", "user", "metadata", "service_tier"),
    "parallel_tool_calls",
)
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}
_CHOICES = {"auto": None, "none": "NONE", "required": "REQUIRED"}


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    extras = known_extras(request, EXTRAS)
    refuse_wordless(request, WORDLESS)
    fields = {
        "model": request.model,
        "messages": [one for message in request.messages for one in render_message(message)],
        "tools": [_tool(tool) for tool in request.tools] or None,
        "strict_tools": _strict(request.tools),
        "tool_choice": _tool_choice(request),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "p": request.top_p,
        "k": request.top_k,
        "stop_sequences": _stop(request.stop),
        "seed": request.seed,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "response_format": _response_format(request.response_format),
        "thinking": _thinking(request.reasoning),
        "stream": request.stream,
        **extras,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    path = path_for("chat", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers, stream=request.stream)


def _tool(tool: Tool) -> dict[str, Any]:
    about = {} if tool.description is None else {"description": tool.description}
    schema = tool.schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, **about, "parameters": schema}}


def _strict(tools: tuple[Tool, ...]) -> bool | None:
    strict = {bool(tool.strict) for tool in tools}
    if len(strict) > 1:
        raise unexpressible("tools[].function.strict", "all tools are strict or none is")
    return True if True in strict else None


def _tool_choice(request: ChatRequest) -> str | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode != "named":
        return _CHOICES[choice.mode]
    if [tool.name for tool in request.tools] != [choice.name]:
        raise unexpressible("tool_choice", "it cannot choose one of several tools")
    return "REQUIRED"


def _stop(stop: tuple[str, ...]) -> list[str] | None:
    if len(stop) > MAX_STOPS:
        raise unexpressible("stop", f"at most {MAX_STOPS} stop sequences are possible")
    return list(stop) or None


def _response_format(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.kind == "text":
        return None
    schema = {} if wanted.schema is None else {"json_schema": wanted.schema}
    return {"type": "json_object", **schema}


def _thinking(wanted: Reasoning | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if not wanted.enabled:
        return {"type": "disabled"}
    budget = wanted.budget or _BUDGETS.get(wanted.effort or "")
    return {"type": "enabled", **({} if budget is None else {"token_budget": budget})}

"""Write a chat body from the hub's words, for a caller of another dialect.

| the caller's side says | written |
| --- | --- |
| system, developer | a message in its place; `developer` only where the server knows the role |
| a failed tool's result | its text after `Error: `: the protocol has no mark for it |
| a document as text | a text part, under its name |
| cache marks | nothing: these providers cache equal prefixes by themselves, so the mark holds |
| thinking without a signature | `reasoning_content`, where such a server once gave it |
| thinking on, no amount | nothing: the model decides, as asked |
| thinking budget | `reasoning_effort`: up to 2,048 low, up to 8,192 medium, above high |
| thinking off | nothing: it is the other dialect's default, and "none" is refused by most models |
| schema asked for without a name | the name `response` |

Refused by name: `top_k`, signed thinking, images in a tool's result, documents by URL, more than
four stop sequences, and every extra but `text.verbosity` and what steers the prompt cache. A row's
quirks say where a server has other words, or more of them: then those are written.
"""

from collections.abc import Callable
from typing import Any

from llm_gateway.adapters.openai_chat.call import PATH
from llm_gateway.adapters.openai_chat.turns import render_message
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import known_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

MAX_STOPS = 4
_EFFORT_BY_BUDGET = ((2048, "low"), (8192, "medium"))
# What callers of the responses dialect say that this protocol has a word for too.
_EXTRAS = {
    "text.verbosity": "verbosity",
    "prompt_cache_key": "prompt_cache_key",
    "prompt_cache_retention": "prompt_cache_retention",
    "prompt_cache_options": "prompt_cache_options",
}


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    extras = known_extras(request, quirks.extras.union(_EXTRAS))
    if request.top_k is not None and not quirks.top_k:
        raise unexpressible("top_k")
    body = {key: value for key, value in _fields(request, quirks).items() if value is not None}
    body |= {_EXTRAS.get(name, name): value for name, value in extras.items()}
    for name in quirks.unsupported.intersection(body):
        raise unexpressible(name)
    path = path_for("chat", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers, stream=request.stream)


def _fields(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    return {
        "model": request.model,
        "messages": [
            written for message in request.messages for written in render_message(message, quirks)
        ],
        quirks.max_tokens_field: request.max_tokens,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": _stop(request.stop),
        quirks.seed_field: request.seed,
        "top_k": request.top_k,
        "n": request.choices if request.choices > 1 else None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logit_bias": request.logit_bias,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        "response_format": _response_format(request.response_format, quirks),
        **_REASONING[quirks.reasoning_field](request.reasoning),
        "user": request.user,
        "service_tier": request.service_tier,
        "metadata": request.metadata,
        "stream": request.stream or None,
        "stream_options": {"include_usage": True}
        if request.stream and quirks.include_usage
        else None,
    }


def _stop(stop: tuple[str, ...]) -> list[str] | None:
    if len(stop) > MAX_STOPS:
        raise unexpressible("stop", f"at most {MAX_STOPS} stop sequences are possible")
    return list(stop) or None


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(request: ChatRequest) -> str | dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode != "named":
        return choice.mode
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(wanted: ResponseFormat | None, quirks: Quirks) -> dict[str, Any] | None:
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json":
        return {"type": "json_object"}
    if not quirks.json_schema:
        raise unexpressible("response_format")
    schema = {
        "name": wanted.name or "response",
        "schema": wanted.schema,
        "strict": wanted.strict,
        "description": wanted.description,
    }
    given = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": given}


def effort(reasoning: Reasoning | None) -> str | None:
    """Return the protocol's word for how much to think, None where it is left to the model."""
    if reasoning is None or not reasoning.enabled:
        return None
    if reasoning.effort is not None or reasoning.budget is None:
        return reasoning.effort
    for bound, word in _EFFORT_BY_BUDGET:
        if reasoning.budget <= bound:
            return word
    return "high"


def _words(reasoning: Reasoning | None) -> dict[str, Any]:
    return {"reasoning_effort": effort(reasoning)}


def _measured(reasoning: Reasoning | None) -> dict[str, Any]:
    """Return how much to think where the server takes words, tokens and neither."""
    if reasoning is None:
        return {}
    if not reasoning.enabled:
        return {"reasoning": {"enabled": False}}
    if reasoning.budget is not None:
        return {"reasoning": {"max_tokens": reasoning.budget}}
    by_words = {"enabled": True} if reasoning.effort is None else {"effort": reasoning.effort}
    return {"reasoning": by_words}


def _switched(reasoning: Reasoning | None) -> dict[str, Any]:
    """Return whether to think where the server takes no measure of it."""
    if reasoning is None:
        return {}
    return {"thinking": {"type": "enabled" if reasoning.enabled else "disabled"}}


def _switched_by_words(reasoning: Reasoning | None) -> dict[str, Any]:
    return {**_switched(reasoning), **_words(reasoning)}


_REASONING: dict[str, Callable[[Reasoning | None], dict[str, Any]]] = {
    "reasoning_effort": _words,
    "reasoning": _measured,
    "thinking": _switched,
    "thinking, reasoning_effort": _switched_by_words,
}

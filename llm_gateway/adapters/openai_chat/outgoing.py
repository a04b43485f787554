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
four stop sequences, and every extra.
"""

from typing import Any

from llm_gateway.adapters.openai_chat.call import PATH
from llm_gateway.adapters.openai_chat.turns import render_message
from llm_gateway.adapters.refusal import refuse_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

MAX_STOPS = 4
_EFFORT_BY_BUDGET = ((2048, "low"), (8192, "medium"))


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    refuse_extras(request)
    if request.top_k is not None:
        raise unexpressible("top_k")
    body = {key: value for key, value in _fields(request, quirks).items() if value is not None}
    for name in quirks.unsupported.intersection(body):
        raise unexpressible(name)
    return outgoing(PATH, body, quirks.default_headers, stream=request.stream)


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
        "seed": request.seed,
        "n": request.choices if request.choices > 1 else None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logit_bias": request.logit_bias,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        "response_format": _response_format(request.response_format, quirks),
        "reasoning_effort": _effort(request.reasoning),
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
        raise unexpressible("stop_sequences", f"at most {MAX_STOPS} stop sequences are possible")
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
        raise unexpressible("output_config.format")
    schema = {
        "name": wanted.name or "response",
        "schema": wanted.schema,
        "strict": wanted.strict,
        "description": wanted.description,
    }
    given = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": given}


def _effort(reasoning: Reasoning | None) -> str | None:
    if reasoning is None or not reasoning.enabled:
        return None
    if reasoning.effort is not None or reasoning.budget is None:
        return reasoning.effort
    for bound, effort in _EFFORT_BY_BUDGET:
        if reasoning.budget <= bound:
            return effort
    return "high"

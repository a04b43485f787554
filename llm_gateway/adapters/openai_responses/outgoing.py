"""Write a responses body from the hub's words, for a caller of another dialect.

| the caller's side says | written |
| --- | --- |
| system, developer | an item in its place; `developer` only where the server knows the role |
| nothing of keeping | `store: false`: other dialects keep no answers, nobody could go on from one |
| a tool without `strict` | `strict: false`: here the default is the other one |
| thinking to be read | `reasoning.summary: auto` |
| thinking, or a model known to think | `include: reasoning.encrypted_content`, to be sent back |
| thinking budget | `reasoning.effort`: up to 2,048 low, up to 8,192 medium, above high |
| thinking off | nothing: "none" is refused by most models |
| a failed tool's result | its text after `Error: `: the protocol has no mark for it |
| a document as text | a text part, under its name |
| a refusal of an earlier turn | its text |
| cache marks | nothing: these providers cache equal prefixes by themselves, so the mark holds |
| schema asked for without a name | the name `response` |

Refused by name: less than 16 tokens of output, `n`, `seed`, `stop`, penalties, `logit_bias`,
`top_k`, sound, names of speakers, thinking of another author or without a signature, and every
extra but chat's `verbosity`, `prompt_cache_key`, `prompt_cache_retention`, `prompt_cache_options`.
"""

from typing import Any

from llm_gateway.adapters.openai_chat.outgoing import effort
from llm_gateway.adapters.openai_responses.call import PATH
from llm_gateway.adapters.openai_responses.turns import render_message
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import known_extras, refuse_wordless, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

_EXTRAS = frozenset(
    {"verbosity", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
)
LEAST_TOKENS = 16
_WORDLESS = ("n", "seed", "frequency_penalty", "presence_penalty", "logit_bias")
Wire = dict[str, Any]


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    extras = dict(known_extras(request, _EXTRAS | quirks.extras))
    _refuse_wordless(request)
    fields = {
        "model": request.model,
        "input": [item for message in request.messages for item in render_message(message, quirks)],
        "max_output_tokens": request.max_tokens,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs,
        "text": _text(request.response_format, extras.pop("verbosity", None)),
        "reasoning": _reasoning(request.reasoning),
        "include": _include(request),
        "user": request.user,
        "service_tier": request.service_tier,
        "metadata": request.metadata,
        "store": False,
        "stream": request.stream or None,
        **extras,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    for name in quirks.unsupported.intersection(body):
        raise unexpressible(name)
    path = path_for("responses", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers, stream=request.stream)


def _refuse_wordless(request: ChatRequest) -> None:
    refuse_wordless(request, _WORDLESS)
    for name, given in {"stop": request.stop, "top_k": request.top_k is not None}.items():
        if given:
            raise unexpressible(name)
    if request.max_tokens is not None and request.max_tokens < LEAST_TOKENS:
        raise unexpressible("max_tokens", f"an answer has room for {LEAST_TOKENS} tokens at least")


def _tool(tool: Tool) -> Wire:
    written: Wire = {"type": "function", "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    return {**written, "parameters": tool.schema, "strict": bool(tool.strict)}


def _tool_choice(request: ChatRequest) -> str | Wire | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode != "named":
        return choice.mode
    return {"type": "function", "name": choice.name}


def _text(wanted: ResponseFormat | None, verbosity: object) -> Wire | None:
    text = {"format": _format(wanted), "verbosity": verbosity}
    return {name: value for name, value in text.items() if value is not None} or None


def _format(wanted: ResponseFormat | None) -> Wire | None:
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json":
        return {"type": "json_object"}
    schema = {
        "name": wanted.name or "response",
        "schema": wanted.schema,
        "strict": wanted.strict,
        "description": wanted.description,
    }
    given = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", **given}


def _reasoning(wanted: Reasoning | None) -> Wire | None:
    if wanted is None or not wanted.enabled:
        return None
    asked = {"effort": effort(wanted), "summary": "auto" if wanted.visible else None}
    return {name: value for name, value in asked.items() if value is not None} or None


def _include(request: ChatRequest) -> list[str] | None:
    thinks = request.reasons or (request.reasoning is not None and request.reasoning.enabled)
    wanted = {
        "reasoning.encrypted_content": thinks,
        "message.output_text.logprobs": request.logprobs,
    }
    return [name for name, asked in wanted.items() if asked] or None

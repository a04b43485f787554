"""Write a messages body from the hub's words, for a caller of another dialect.

| the caller's side says | written |
| --- | --- |
| system and developer messages | `system` blocks in their order, wherever they stood |
| no `max_tokens` | the model's limit: the protocol asks for a number |
| `parallel_tool_calls: false` | `disable_parallel_tool_use` on the tool choice |
| a schema for the answer | `output_config.format`; its name is a label and has no place; a description goes into a schema that has none |
| `reasoning_effort` | a thinking budget: minimal 1,024 · low 2,048 · medium 8,192 · high 16,384 · xhigh 32,768 · max 65,536 tokens, but at most half of `max_tokens`; none: thinking off |
| a tool call's id | characters outside `[a-zA-Z0-9_-]` as `_` and their code |
| a refusal of an earlier turn | its text |
| service tier auto, default | auto, standard_only |

Refused by name: `n`, `seed`, penalties, `logit_bias`, `logprobs`, JSON mode without a schema, a
temperature above 1, image detail, audio, files by id, names of speakers, `metadata`, thinking
without its signature, other service tiers, and every extra.
"""  # noqa: E501  a table's row is one line

from typing import Any

from llm_gateway.adapters.anthropic_messages.call import PATH, headers
from llm_gateway.adapters.anthropic_messages.turns import cached, render_turns, system_blocks
from llm_gateway.adapters.refusal import refuse_extras, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, ResponseFormat, Tool

MIN_BUDGET = 1024
MAX_TEMPERATURE = 1
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
_TIERS = {None: None, "auto": "auto", "default": "standard_only"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is the model's limit: the protocol must name a bound.
    """
    refuse_extras(request)
    _refuse_wordless(request)
    max_tokens = request.max_tokens or default_max_tokens
    fields = {
        "model": request.model,
        "max_tokens": max_tokens,
        "system": system_blocks(request.messages) or None,
        "messages": render_turns(request.messages),
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "metadata": None if request.user is None else {"user_id": request.user},
        "thinking": _thinking(request, max_tokens),
        "output_config": _output_config(request.response_format),
        "service_tier": _tier(request.service_tier),
        "stream": request.stream or None,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    for name in quirks.unsupported.intersection(body):
        raise unexpressible(name)
    return outgoing(PATH, body, headers(quirks), stream=request.stream)


def _refuse_wordless(request: ChatRequest) -> None:
    given = {
        "n": request.choices > 1,
        "seed": request.seed is not None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logit_bias": request.logit_bias,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "metadata": request.metadata,
    }
    for name, value in given.items():
        if value:
            raise unexpressible(name)
    if request.temperature is not None and request.temperature > MAX_TEMPERATURE:
        raise unexpressible("temperature", f"it goes up to {MAX_TEMPERATURE}")


def _tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    written["input_schema"] = {"type": "object", **(tool.schema or {"properties": {}})}
    if tool.strict:
        written["strict"] = True
    return cached(written, tool.cache)


def _tool_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice = request.tool_choice
    single = request.parallel_tool_calls is False and bool(request.tools)
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if single else None
    if choice.mode == "named":
        written: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        written = {"type": _CHOICES[choice.mode]}
    if single and choice.mode != "none":
        written["disable_parallel_tool_use"] = True
    return written


def _thinking(request: ChatRequest, max_tokens: int) -> dict[str, Any] | None:
    wanted = request.reasoning
    if wanted is None:
        return None
    if not wanted.enabled:
        return {"type": "disabled"}
    if wanted.budget is None and wanted.effort is None:
        return {"type": "adaptive"}
    budget = wanted.budget or min(_BUDGETS.get(wanted.effort or "", 0), max_tokens // 2)
    if budget < MIN_BUDGET:
        raise unexpressible("reasoning_effort", f"it would think at least {MIN_BUDGET} tokens")
    return {"type": "enabled", "budget_tokens": budget}


def _output_config(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json" or wanted.schema is None:
        raise unexpressible("response_format", "an answer in JSON needs a schema")
    about = {} if wanted.description is None else {"description": wanted.description}
    return {"format": {"type": "json_schema", "schema": {**about, **wanted.schema}}}


def _tier(tier: str | None) -> str | None:
    if tier not in _TIERS:
        raise unexpressible("service_tier", f"it has no tier '{tier}'")
    return _TIERS[tier]

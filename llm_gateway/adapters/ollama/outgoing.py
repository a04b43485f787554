"""Write an Ollama chat body from the hub's words.

| the caller's side says | written |
| --- | --- |
| system and developer messages | a `system` message in its place |
| several texts of a message | one, a line each: a message has one text |
| a tool's result that failed | its text after `Error: `: the protocol has no mark for it |
| a document as text | text, under its name |
| a refusal of an earlier turn | its text |
| cache marks | nothing: the server keeps equal prefixes by itself |
| `tool_choice: none` | no tools: then none can be called |
| a schema or JSON mode | `format`; name, description and strict are labels there |
| `reasoning_effort`, a budget of thinking | `think`: minimal, low and up to 2,048 tokens low · medium and up to 8,192 medium · else high; none: false |
| the deployment's context window | `num_ctx`: without it the server holds a few thousand tokens |
| more than the context holds | `truncate` and `shift` are off: an error, and never a part of it alone |

Refused by name: `n`, `logit_bias`, `user`, `metadata`, `parallel_tool_calls: false`, a call that is
required, signed thinking, image URLs and detail, audio, documents that are no text, names of
speakers, other service tiers, and every extra but those in `EXTRAS` and `OPTIONS`.
"""  # noqa: E501  a table's row is one line

from typing import Any

from llm_gateway.adapters.ollama.turns import render_messages
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.refusal import known_extras, refuse_wordless, unexpressible
from llm_gateway.adapters.steering_fields import outgoing
from llm_gateway.types import ChatRequest, Outgoing, Quirks, Reasoning, ResponseFormat, Tool

PATH = "/api/chat"
EXTRAS = frozenset({"keep_alive"})
OPTIONS = frozenset({
    "min_p", "mirostat", "mirostat_eta", "mirostat_tau", "repeat_last_n", "repeat_penalty",
    "typical_p",
})  # fmt: skip
WORDLESS = ("n", "logit_bias", "user", "metadata", "service_tier", "parallel_tool_calls")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium"}
_EFFORT_BY_BUDGET = ((2048, "low"), (8192, "medium"))


def render_request(request: ChatRequest, quirks: Quirks, *, default_max_tokens: int) -> Outgoing:
    """Return the request on the wire. Raises UnexpressibleError naming what has no word here.

    `default_max_tokens` is for protocols that must name a bound; this one need not.
    """
    del default_max_tokens
    extras = known_extras(request, EXTRAS | OPTIONS)
    refuse_wordless(request, WORDLESS)
    fields = {
        "model": request.model,
        "messages": render_messages(request.messages),
        "tools": _tools(request),
        "format": _format(request.response_format),
        "think": _think(request.reasoning),
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs,
        "options": _options(request, extras),
        "stream": request.stream,
        "truncate": False,
        "shift": False,
        **{name: extras[name] for name in EXTRAS.intersection(extras)},
    }
    body = {name: value for name, value in fields.items() if value is not None}
    path = path_for("chat", PATH, request.model, quirks)
    return outgoing(path, body, quirks.default_headers, stream=request.stream)


def _options(request: ChatRequest, extras: dict[str, Any]) -> dict[str, Any] | None:
    options = {
        "num_ctx": request.window,
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        **{name: extras[name] for name in OPTIONS.intersection(extras)},
    }
    return {name: value for name, value in options.items() if value is not None} or None


def _tools(request: ChatRequest) -> list[dict[str, Any]] | None:
    mode = request.tool_choice.mode if request.tool_choice else "auto"
    if mode in {"required", "named"}:
        raise unexpressible("tool_choice", "no call can be required")
    return [_tool(tool) for tool in request.tools if mode != "none"] or None


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.schema or {"type": "object", "properties": {}}
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _format(wanted: ResponseFormat | None) -> dict[str, Any] | str | None:
    if wanted is None or wanted.kind == "text":
        return None
    return "json" if wanted.schema is None else wanted.schema


def _think(wanted: Reasoning | None) -> bool | str | None:
    if wanted is None:
        return None
    if not wanted.enabled or (wanted.effort is None and wanted.budget is None):
        return wanted.enabled
    if wanted.effort is not None:
        return _EFFORTS.get(wanted.effort, "high")
    fitting = (word for bound, word in _EFFORT_BY_BUDGET if (wanted.budget or 0) <= bound)
    return next(fitting, "high")

"""Read what steers the gateway out of a completions body; send the body on to who has it."""

from typing import Any

from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.paths import path_for
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import (
    flag,
    model_name,
    optional_object,
    outgoing,
    positive,
    wrong,
)
from llm_gateway.types import Call, Outgoing, Quirks

PATH = "/completions"
WAYS = ("completions", "chat", "responses")
MAX_CHOICES = 128
# The protocol's own, where a caller names none.
DEFAULT_MAX_TOKENS = 16
KNOWN = frozenset({
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
    "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix",
    "temperature", "top_p", "user",
})  # fmt: skip


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway. Raises InvalidRequestError naming the field."""
    refuse_steering(body, KNOWN)
    stream = flag(body, "stream")
    options = optional_object(body, "stream_options")
    return Call(
        dialect="openai_completions",
        operation="chat",
        ways=WAYS,
        model=model_name(body),
        body=body,
        size=size,
        stream=stream,
        max_output_tokens=positive(body, "max_tokens") or DEFAULT_MAX_TOKENS,
        choices=_choices(body),
        wants_usage=flag(options, "include_usage"),
        end_user=_end_user(body),
        needs=frozenset({"stream"} if stream else ()),
        items=1,
    )


def render_relay(call: Call, changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body with `changes`, re-serialised; `call.body` is left alone."""
    body = {**call.body, "model": changes.upstream_name}
    if call.stream and quirks.include_usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if changes.max_output_tokens is not None:
        body["max_tokens"] = changes.max_output_tokens
    path = path_for("completions", PATH, changes.upstream_name, quirks)
    return outgoing(path, body, quirks.default_headers, stream=call.stream)


def _choices(body: dict[str, Any]) -> int:
    """Return how many texts are written: of each prompt those asked for, or to choose from."""
    each = max(positive(body, "n") or 1, positive(body, "best_of") or 1)
    if each > MAX_CHOICES:
        raise wrong("n", f"at most {MAX_CHOICES}, and so 'best_of'")
    return each * _prompts(body.get("prompt"))


def _prompts(prompt: object) -> int:
    """Return how many prompts there are; a list of numbers is one, in tokens."""
    if prompt is None or isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        raise wrong("prompt", "a string, a list of them, or tokens")
    return 1 if all(type(one) is int for one in prompt) else len(prompt)


def _end_user(body: dict[str, Any]) -> str | None:
    user = body.get("user")
    if user is not None and not isinstance(user, str):
        raise wrong("user", "a string")
    return user or None

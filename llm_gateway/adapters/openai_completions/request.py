"""Read a completions body into the hub's words: one prompt becomes what a user says.

What has no word goes to `extras` under its name, so that a target refuses it: several prompts or
one in tokens, `suffix`, `echo`, and `best_of` where more are written than answered.
"""

from typing import Any

from llm_gateway.adapters.fields import Fields
from llm_gateway.adapters.openai_completions.call import DEFAULT_MAX_TOKENS
from llm_gateway.types import ChatRequest, Message, TextPart


def parse_request(body: dict[str, Any]) -> ChatRequest:
    """Return the request in the hub's words. Raises InvalidRequestError naming the field."""
    fields, extras = Fields(body), dict[str, Any]()
    choices = fields.integer("n") or 1
    fields.drop("echo", False)
    fields.drop("suffix", "")
    fields.drop("best_of", choices, 1)
    fields.take("stream_options")
    alternatives = fields.integer("logprobs")
    limit = fields.integer("max_tokens")
    request = ChatRequest(
        model=fields.required("model"),
        messages=_messages(fields, extras),
        stream=bool(fields.flag("stream")),
        max_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        stop=fields.texts("stop"),
        seed=fields.integer("seed"),
        choices=choices,
        frequency_penalty=fields.number("frequency_penalty") or None,
        presence_penalty=fields.number("presence_penalty") or None,
        logit_bias=fields.mapping("logit_bias") or None,
        logprobs=alternatives is not None,
        top_logprobs=alternatives or None,
        user=fields.text("user"),
        extras=extras,
    )
    fields.close(extras)
    return request


def _messages(fields: Fields, extras: dict[str, Any]) -> tuple[Message, ...]:
    prompt = fields.take("prompt")
    only = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    if not isinstance(only, str):
        extras["prompt"] = prompt
        return ()
    return (Message(role="user", parts=(TextPart(text=only),)),)

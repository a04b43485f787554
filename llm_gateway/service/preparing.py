"""Make what a native request stands for: a template's words, a conversation's history, less of it.

What the model is asked is a plain chat then; the turn is kept once its answer is whole.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct

from llm_gateway.errors import InvalidRequestError
from llm_gateway.prompts.optimise import (
    INSTRUCTIONS,
    Optimised,
    optimise,
    optimise_text,
    trimmed,
)
from llm_gateway.service import conversations, prompt_book
from llm_gateway.service.measuring import candidates_of, family_of, in_thread
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stored import in_database
from llm_gateway.tokens.counting import message_tokens
from llm_gateway.types import Deployment
from tenants.types import Caller

Wire = dict[str, Any]

NEW = "new"
# Room for an answer where neither the caller nor the model says how long it may be.
ANSWER_TOKENS = 4096
_WORDS = ("messages", "prompt", "prompt_template")


class Prepared(Struct, frozen=True, kw_only=True):
    """A plain chat body, and what the caller is told beside the answer.

    `turn` are the messages that a conversation gets with the answer.
    """

    body: Wire
    notes: Wire = {}
    tenant_id: int = 0
    conversation: str | None = None
    turn: Sequence[Wire] = ()

    async def keep(self, said: str, request_id: UUID) -> None:
        """Add the turn and its answer to the conversation, where there is one."""
        if self.conversation is None:
            return
        answer = {"role": "assistant", "content": said}
        turn, name, tenant_id = [*self.turn, answer], self.conversation, self.tenant_id
        await in_database(
            lambda: conversations.append(conversations.find(tenant_id, name), turn, request_id)
        )


async def prepared(runtime: Runtime, caller: Caller, body: Wire, model: str) -> Prepared:
    """Return what a body stands for; `model` is what will be asked.

    Raises InvalidRequestError or NotFoundError naming the field.
    """
    rest = {name: value for name, value in body.items() if value is not None}
    named, optimising = rest.pop("conversation", None), rest.pop("optimize_prompt", False)
    if named is None and optimising is False and "prompt_template" not in rest:
        return Prepared(body=rest)
    rest = await _worded(caller, rest)
    notes: Wire = {}
    turn: list[Wire] = []
    if named is not None:
        said, turn = await _continued(caller, named, _messages(rest), notes)
        rest["messages"] = await _trimmed(runtime, caller, model, said, rest)
    if optimising is not False:
        await _optimise(runtime, caller, model, rest, optimising, notes)
    return Prepared(
        body=rest,
        notes=notes,
        tenant_id=caller.tenant_id,
        conversation=notes.get("conversation"),
        turn=turn,
    )


async def shortened(
    runtime: Runtime, caller: Caller, body: Wire, target: int, model: str
) -> Optimised:
    """Return a prompt, or messages, of at most `target` tokens of a model where that can be."""
    family = family_of(candidates_of(runtime, caller, model)[0])

    def count(message: Wire) -> int:
        return message_tokens(message, family)

    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return await in_thread(lambda: optimise_text(prompt, target, count))
    messages = _messages(body)
    return await in_thread(lambda: optimise(messages, target, count))


# --- words ---------------------------------------------------------------------------------------


async def _worded(caller: Caller, body: Wire) -> Wire:
    """Return the body with messages in place of a template."""
    given = [name for name in _WORDS if name in body]
    if len(given) > 1:
        raise InvalidRequestError(f"Send '{given[0]}' or '{given[1]}', not both.", param=given[1])
    wanted = body.pop("prompt_template", None)
    if wanted is None:
        return body
    messages = await in_database(lambda: prompt_book.filled(caller.tenant_id, wanted))
    return {**body, "messages": messages}


def _messages(body: Wire) -> list[Wire]:
    """Return the messages of a body, `prompt` as the one it stands for."""
    prompt = body.pop("prompt", None)
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt:
            raise InvalidRequestError("'prompt' must be a text.", param="prompt")
        return [{"role": "user", "content": prompt}]
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError(
            "'messages' must be a list with at least one message.", param="messages"
        )
    return conversations.check_messages(messages)


# --- history -------------------------------------------------------------------------------------


async def _continued(
    caller: Caller, named: object, messages: list[Wire], notes: Wire
) -> tuple[list[Wire], list[Wire]]:
    """Return the conversation with this turn, and the turn; its id is noted. "new" begins one."""
    tenant_id = caller.tenant_id

    def read() -> tuple[str, list[Wire]]:
        if named == NEW:
            return str(conversations.create(tenant_id).pk), []
        found = conversations.find(tenant_id, named)
        return str(found.pk), conversations.history(found)

    notes["conversation"], history = await in_database(read)
    conversations.check_room(len(history) + len(messages) + 1)
    # Who repeats his instructions with each turn has them once.
    told = [one for one in messages if one["role"] in INSTRUCTIONS and one not in history]
    spoken = [one for one in messages if one["role"] not in INSTRUCTIONS]
    return [*told, *history, *spoken], [*told, *spoken]


def _room(deployments: Sequence[Deployment], body: Wire) -> int | None:
    """Return the tokens that the smallest window leaves for what is asked; None: not known."""
    windows = [
        one.context_window - _answer_tokens(one, body) for one in deployments if one.context_window
    ]
    return max(1, min(windows)) if windows else None


def _answer_tokens(deployment: Deployment, body: Wire) -> int:
    asked = body.get("max_tokens")
    if isinstance(asked, int) and not isinstance(asked, bool):
        return asked
    window = deployment.context_window or 0
    return min(deployment.max_output_tokens or ANSWER_TOKENS, ANSWER_TOKENS, window // 2)


async def _trimmed(
    runtime: Runtime, caller: Caller, model: str, messages: list[Wire], body: Wire
) -> list[Wire]:
    """Return messages that surely fit, without the oldest turns where they would not."""
    deployments = candidates_of(runtime, caller, model)
    room = _room(deployments, body)
    if room is None:
        return messages
    families = {family_of(one) for one in deployments}

    def surely(message: Wire) -> int:
        return max(message_tokens(message, family, surely=True) for family in families)

    return await in_thread(lambda: trimmed(messages, room, surely))


# --- less of it ----------------------------------------------------------------------------------


async def _optimise(
    runtime: Runtime, caller: Caller, model: str, body: Wire, wanted: object, notes: Wire
) -> None:
    target = _target(runtime, caller, model, body, wanted)
    found = await shortened(runtime, caller, dict(body), target, model)
    if "prompt" in body:
        body["prompt"] = found.messages[0]["content"]
    else:
        body["messages"] = found.messages
    notes["optimized"] = report(found)


def _target(runtime: Runtime, caller: Caller, model: str, body: Wire, wanted: object) -> int:
    """Return the tokens wanted: a number, or for `true` what the model's window leaves."""
    if wanted is True:
        room = _room(candidates_of(runtime, caller, model), body)
        if room is None:
            raise _wrong(f"a number of tokens: the window of {model!r} is not known")
        return room
    asked = wanted.get("target_tokens") if isinstance(wanted, dict) else wanted
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise _wrong("true, or a number of tokens of at least 1")
    return asked


def report(found: Optimised) -> Wire:
    """Return what went of a prompt, in numbers and by message."""
    return {
        "tokens_before": found.before,
        "tokens_after": found.after,
        "target_tokens": found.target,
        "reached": found.reached,
        "removed": found.removed,
    }


def _wrong(wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"'optimize_prompt' must be {wanted}.", param="optimize_prompt")

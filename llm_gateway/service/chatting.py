"""Lead one native chat from what its body stands for to an answer that a conversation keeps."""

import logging
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters.steering_fields import model_name
from llm_gateway.errors import GatewayError
from llm_gateway.service import asking
from llm_gateway.service.asking import Asker, Build, Chunk, Completion
from llm_gateway.service.carried import Carried
from llm_gateway.service.inbound import Answer, Inbound
from llm_gateway.service.once import REPLAYED
from llm_gateway.service.preparing import Prepared, prepared

log = logging.getLogger(__name__)


class Chat(Struct, frozen=True):
    """A chat that is ready to be asked, and what has to be kept of it."""

    inbound: Inbound
    made: Prepared

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What is told beside the answer's own headers."""
        name = self.made.conversation
        return [] if name is None else [(b"x-mobius-conversation", name.encode())]


async def chat_of(asker: Asker, body: dict[str, Any], build: Build | None = None) -> Chat:
    """Return the chat that a body stands for; without a model the default one is asked.

    Raises InvalidRequestError, NotFoundError or ModelNotFoundError.
    """
    model = body.get("model")
    if model is None:
        model = asking.default_model(asker.runtime, asker.caller, "chat")
    named = model_name({"model": model})
    made = await prepared(asker.runtime, asker.caller, {**body, "model": named}, named)
    inbound = asking.chat(asker, made.body, build)
    return Chat(replace(inbound, conversation=made.conversation), made)


async def whole(chat: Chat, answer: Answer, asker: Asker) -> Completion:
    """Return the answer once its conversation has it."""
    completion = asking.completion(answer, chat.inbound, asker.runtime)
    kept = await _keep(chat, answer, completion.content)
    notes = {name: chat.made.notes.get(name) for name in ("conversation", "optimized")}
    return replace(completion, conversation_kept=kept, **notes)


async def pieces(chat: Chat, carried: Carried, answer: Answer) -> AsyncIterator[Chunk]:
    """Yield the answer; its conversation has it before it ends.

    Raises BrokenStreamError or SchemaMismatchError.
    """
    heard: list[str] = []
    async for chunk in asking.chunks(carried, answer, chat.inbound.expects):
        heard.append(chunk.content)
        if chunk.usage is not None:
            await _keep(chat, answer, "".join(heard))
        yield chunk


async def _keep(chat: Chat, answer: Answer, said: str) -> bool:
    """Add a turn to its conversation; the answer was paid for and goes out in any case."""
    if REPLAYED in answer.headers:
        return True  # it was kept when it was given first
    try:
        await chat.made.keep(said, chat.inbound.request_id)
    except GatewayError as error:
        log.warning("Request %s is not in its conversation: %s", chat.inbound.request_id, error)
        return False
    return True

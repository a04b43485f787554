"""Listen to requests whose tenant keeps contents; of all others nothing is looked at."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from llm_gateway.recorder import Contents
from llm_gateway.service.inbound import Answer, Inbound
from llm_gateway.service.runtime import Runtime
from tenants.types import Payloads

if TYPE_CHECKING:
    from llm_gateway.service.exchange import Exchange


def contents_of(runtime: Runtime, inbound: Inbound) -> Contents | None:
    """Return where a request's contents are gathered; None where its tenant keeps none."""
    level = inbound.caller.log_payloads or _setting(runtime)
    if level == "none":
        return None
    return Contents(level=level, dialect=inbound.door.name, asked=inbound.body)


def _setting(runtime: Runtime) -> Payloads:
    return runtime.snapshot.current.configuration.settings.log_payloads


def overheard(exchange: "Exchange", answer: Answer) -> Answer:
    """Return the answer, which is listened to on its way where its contents are kept."""
    contents = exchange.contents
    if contents is None:
        return answer
    if answer.chunks is None:
        contents.hear(answer.body)
    else:
        contents.streamed = True
        answer.chunks = _Overheard(exchange, contents, answer.chunks)
    return answer


class _Overheard:
    """The pieces of a stream, until the caller leaves: what it did not get is not kept."""

    def __init__(
        self, exchange: "Exchange", contents: Contents, chunks: AsyncIterator[bytes]
    ) -> None:
        self._exchange, self._contents, self._chunks = exchange, contents, chunks

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        if not self._exchange.left:
            self._contents.hear(chunk)
        return chunk

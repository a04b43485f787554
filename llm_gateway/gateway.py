"""The Python API: the one path for Django code and Celery tasks of this installation.

    answer = await gateway.complete("acme", "Say hello.", model="smart")
    answer = gateway.sync.complete("acme", "Say hello.")

`tenant` is a tenant's name, a Tenant, or an ApiKey, whose own limits then bind too. Every function
raises GatewayError. It works from any event loop and thread; a script calls `sync.close` at its
end, so that the request log is written.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from typing_extensions import Unpack

from llm_gateway.errors import GatewayError, InvalidApiKeyError, PermissionDeniedError
from llm_gateway.scope import Scope
from llm_gateway.service import asking, catalogue, process
from llm_gateway.service.asking import Chunk, Completion, Embeddings
from llm_gateway.service.carried import Carried
from llm_gateway.service.catalogue import ModelInfo
from llm_gateway.service.home import at_home, wait_at_home
from llm_gateway.service.inbound import Controls
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import StrategyName
from tenants.auth import load_caller_of
from tenants.ids import new_id
from tenants.models import ApiKey, Tenant
from tenants.types import Caller

__all__ = [
    "Chunk",
    "Completion",
    "Embeddings",
    "GatewayError",
    "ModelInfo",
    "complete",
    "embed",
    "models",
    "stream",
    "sync",
]

Who = str | Tenant | ApiKey
Messages = str | Sequence[Mapping[str, Any]]

ENDPOINT = "python"


class Way(TypedDict, total=False):
    """How a request is led, beside its content; see the headers of contract §4."""

    provider: str
    strategy: StrategyName
    fallbacks: bool
    timeout_s: float
    tags: Mapping[str, str]


class Chat(Way, total=False):
    """What a chat may say beside its messages; without a model, the default one is asked."""

    model: str
    temperature: float
    max_tokens: int
    top_p: float
    stop: list[str]
    user: str


async def complete(tenant: Who, messages: Messages, **options: Unpack[Chat]) -> Completion:
    """Return the whole answer; `messages` are as OpenAI writes them, or the text of one."""
    return await at_home(_complete(tenant, messages, options))


async def stream(tenant: Who, messages: Messages, **options: Unpack[Chat]) -> AsyncIterator[Chunk]:
    """Yield the answer as it is written; the last chunk has usage and cost.

    One that is left early is closed with `contextlib.aclosing`; what it cost is settled anyway.
    """
    chunks = _stream(tenant, messages, options)
    try:
        while (chunk := await at_home(_next(chunks))) is not None:
            yield chunk
    finally:
        await at_home(_close(chunks))


async def embed(
    tenant: Who, texts: Sequence[str], model: str | None = None, **way: Unpack[Way]
) -> Embeddings:
    """Return a vector for each text."""
    return await at_home(_embed(tenant, texts, model, way))


class _Models:
    async def list(
        self,
        tenant: Who,
        *,
        capability: str | None = None,
        min_context: int = 0,
        provider: str | None = None,
    ) -> list[ModelInfo]:
        """Return the models a tenant may call, with capabilities, prices and health."""
        wanted = catalogue.Wanted(capability=capability, min_context=min_context, provider=provider)
        return await at_home(_list(tenant, wanted))


class _SyncModels:
    def list(
        self,
        tenant: Who,
        *,
        capability: str | None = None,
        min_context: int = 0,
        provider: str | None = None,
    ) -> list[ModelInfo]:
        wanted = catalogue.Wanted(capability=capability, min_context=min_context, provider=provider)
        return wait_at_home(_list(tenant, wanted))


class _Sync:
    """The same for code that is not async; not to be called in the server's event loop."""

    models = _SyncModels()

    def complete(self, tenant: Who, messages: Messages, **options: Unpack[Chat]) -> Completion:
        return wait_at_home(_complete(tenant, messages, options))

    def stream(self, tenant: Who, messages: Messages, **options: Unpack[Chat]) -> Iterator[Chunk]:
        chunks = _stream(tenant, messages, options)
        try:
            while (chunk := wait_at_home(_next(chunks))) is not None:
                yield chunk
        finally:
            wait_at_home(_close(chunks))

    def embed(
        self, tenant: Who, texts: Sequence[str], model: str | None = None, **way: Unpack[Way]
    ) -> Embeddings:
        return wait_at_home(_embed(tenant, texts, model, way))

    def close(self) -> None:
        """Write what is left and give everything back; the next call opens it anew."""
        wait_at_home(process.close())


models = _Models()
sync = _Sync()


# --- where the runtime lives ---------------------------------------------------------------------


async def _complete(tenant: Who, messages: Messages, options: Chat) -> Completion:
    asker = await _asker(tenant, options)
    inbound = asking.chat(asker, _body(messages, options))
    async with Scope() as closing:
        carried = Carried(asker.runtime, inbound)
        closing.on_close(carried.end)
        return asking.completion(await carried.answer(), inbound, asker.runtime)


async def _stream(tenant: Who, messages: Messages, options: Chat) -> AsyncIterator[Chunk]:
    asker = await _asker(tenant, options)
    inbound = asking.chat(asker, {**_body(messages, options), "stream": True})
    async with Scope() as closing:
        carried = Carried(asker.runtime, inbound)
        closing.on_close(carried.end)
        async for chunk in asking.chunks(carried, await carried.answer()):
            yield chunk


async def _embed(tenant: Who, texts: Sequence[str], model: str | None, way: Way) -> Embeddings:
    asker = await _asker(tenant, way)
    inbound = asking.embed(asker, list(texts), model)
    async with Scope() as closing:
        carried = Carried(asker.runtime, inbound)
        closing.on_close(carried.end)
        return asking.embeddings(await carried.answer())


async def _list(tenant: Who, wanted: catalogue.Wanted) -> list[ModelInfo]:
    runtime = await process.opened()
    return catalogue.models(runtime, await _caller(runtime, tenant), wanted)


async def _next(chunks: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(chunks, None)


async def _close(chunks: AsyncIterator[Chunk]) -> None:
    await chunks.aclose()  # type: ignore[attr-defined] # a generator of our own


async def _asker(tenant: Who, way: Way) -> asking.Asker:
    runtime = await process.opened()
    given = {name: way[name] for name in Way.__annotations__ if name in way}  # type: ignore[literal-required] # its own
    return asking.Asker(
        runtime=runtime,
        caller=await _caller(runtime, tenant),
        endpoint=ENDPOINT,
        request_id=new_id(),
        controls=Controls(**given),
    )


async def _caller(runtime: Runtime, tenant: Who) -> Caller:
    """Return who is spoken for, as it stands now. Raises GatewayError."""
    caller = await runtime.reader.read(lambda: load_caller_of(tenant))
    if caller is None:
        raise InvalidApiKeyError(f"There is no active tenant or key {tenant}.")
    if caller.expires_at is not None and caller.expires_at <= runtime.wall_clock():
        raise InvalidApiKeyError("The API key has expired.")
    if "inference" not in caller.scopes:
        raise PermissionDeniedError("This key may not ask models.")
    return caller


def _body(messages: Messages, options: Chat) -> dict[str, Any]:
    said = {name: value for name, value in options.items() if name not in Way.__annotations__}
    if isinstance(messages, str):
        return {**said, "prompt": messages}
    return {**said, "messages": list(messages)}

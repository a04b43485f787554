"""The Python API: the one path for Django code and Celery tasks of this installation.

    answer = await gateway.complete("acme", "Say hello.", model="smart")
    answer = gateway.sync.complete("acme", "Say hello.")

`tenant` is a tenant's name, a Tenant, or an ApiKey, whose own limits then bind too. Every function
raises GatewayError. It works from any event loop and thread; a script calls `sync.close` at its
end, so that the request log is written.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

from typing_extensions import Unpack

from llm_gateway.errors import GatewayError, InvalidApiKeyError, PermissionDeniedError
from llm_gateway.scope import Scope
from llm_gateway.service import asking, catalogue, chatting, process
from llm_gateway.service.asking import Chunk, Completion, Embeddings
from llm_gateway.service.carried import Carried
from llm_gateway.service.catalogue import ModelInfo
from llm_gateway.service.controls import identifier
from llm_gateway.service.counting import Tokens, count_body
from llm_gateway.service.home import at_home, wait_at_home
from llm_gateway.service.inbound import Controls
from llm_gateway.service.once import asked_once
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
    "Tokens",
    "complete",
    "count_tokens",
    "embed",
    "models",
    "race",
    "stream",
    "sync",
]

Who = str | Tenant | ApiKey
Messages = str | Sequence[Mapping[str, Any]]

ENDPOINT = "python"


class Model(Protocol):
    """A class of Pydantic's, or one that knows the same two words."""

    def model_json_schema(self) -> dict[str, Any]: ...
    def model_validate(self, value: Any, /) -> Any: ...  # noqa: ANN401 - an instance of it


class Way(TypedDict, total=False):
    """How a request is led, beside its content; see the headers of contract §4.

    Under an `idempotency_key` the same call again gets the same answer for a day, unpaid.
    """

    provider: str
    strategy: StrategyName
    fallbacks: bool
    timeout_s: float
    tags: Mapping[str, str]
    run: str
    idempotency_key: str


class Chat(Way, total=False):
    """What a chat may say beside its messages; without a model, the default one is asked.

    With a `response_model` the answer's `object` is one of it, with a `response_schema` the value.
    """

    model: str
    temperature: float
    max_tokens: int
    top_p: float
    stop: list[str]
    user: str
    prompt_template: str | Mapping[str, Any]
    conversation: str
    optimize_prompt: bool | int
    response_schema: Mapping[str, Any]
    response_model: Model


async def complete(
    tenant: Who, messages: Messages | None = None, **options: Unpack[Chat]
) -> Completion:
    """Return the whole answer; `messages` are as OpenAI writes them, or the text of one.

    None: `prompt_template` says them.
    """
    return await at_home(_complete(tenant, messages, options))


async def race(
    tenant: Who,
    messages: Messages | None = None,
    *,
    models: Sequence[str],
    **options: Unpack[Chat],
) -> Completion:
    """Return the first good answer of 2 to 5 models asked at once; the others are ended."""
    return await at_home(_race(tenant, messages, models, options))


async def stream(
    tenant: Who, messages: Messages | None = None, **options: Unpack[Chat]
) -> AsyncIterator[Chunk]:
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


async def count_tokens(
    tenant: Who, messages: Messages, models: str | Sequence[str] | None = None
) -> Tokens:
    """Return the tokens of a chat's input for each model, with how sure that is; nothing is sent.

    Without models, for the one that would be asked.
    """
    return await at_home(_count(tenant, messages, models))


def _wanted(
    capability: str | None, min_context: int, min_quality: int, provider: str | None
) -> catalogue.Wanted:
    return catalogue.Wanted(
        capability=capability,
        min_context=min_context,
        min_quality=min_quality,
        provider=provider,
    )


class _Models:
    async def list(
        self,
        tenant: Who,
        *,
        capability: str | None = None,
        min_context: int = 0,
        min_quality: int = 0,
        provider: str | None = None,
    ) -> list[ModelInfo]:
        """Return the models a tenant may call, with capabilities, prices and health."""
        wanted = _wanted(capability, min_context, min_quality, provider)
        return await at_home(_list(tenant, wanted))


class _SyncModels:
    def list(
        self,
        tenant: Who,
        *,
        capability: str | None = None,
        min_context: int = 0,
        min_quality: int = 0,
        provider: str | None = None,
    ) -> list[ModelInfo]:
        wanted = _wanted(capability, min_context, min_quality, provider)
        return wait_at_home(_list(tenant, wanted))


class _Sync:
    """The same for code that is not async; not to be called in the server's event loop."""

    models = _SyncModels()

    def complete(
        self, tenant: Who, messages: Messages | None = None, **options: Unpack[Chat]
    ) -> Completion:
        return wait_at_home(_complete(tenant, messages, options))

    def race(
        self,
        tenant: Who,
        messages: Messages | None = None,
        *,
        models: Sequence[str],
        **options: Unpack[Chat],
    ) -> Completion:
        return wait_at_home(_race(tenant, messages, models, options))

    def stream(
        self, tenant: Who, messages: Messages | None = None, **options: Unpack[Chat]
    ) -> Iterator[Chunk]:
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

    def count_tokens(
        self, tenant: Who, messages: Messages, models: str | Sequence[str] | None = None
    ) -> Tokens:
        return wait_at_home(_count(tenant, messages, models))

    def close(self) -> None:
        """Write what is left and give everything back; the next call opens it anew."""
        wait_at_home(process.close())


models = _Models()
sync = _Sync()


# --- where the runtime lives ---------------------------------------------------------------------


async def _complete(tenant: Who, messages: Messages | None, options: Chat) -> Completion:
    body = _body(messages, options)
    return await _whole(await _asker(tenant, options, body), body, options)


async def _race(
    tenant: Who, messages: Messages | None, names: Sequence[str], options: Chat
) -> Completion:
    asking.check_racers(names)
    body = {**_body(messages, options), "model": names[0]}
    asker = await _asker(tenant, options, {**body, "models": list(names)})
    return await _whole(asking.racing(asker, names[1:]), body, options)


async def _whole(asker: asking.Asker, body: dict[str, Any], options: Chat) -> Completion:
    chat = await chatting.chat_of(asker, body, _build(options))
    async with Scope() as closing:
        carried = Carried(asker.runtime, chat.inbound)
        closing.on_close(carried.end)
        return await chatting.whole(chat, await carried.answer(), asker)


async def _stream(tenant: Who, messages: Messages | None, options: Chat) -> AsyncIterator[Chunk]:
    body = {**_body(messages, options), "stream": True}
    asker = await _asker(tenant, options, body)
    chat = await chatting.chat_of(asker, body, _build(options))
    async with Scope() as closing:
        carried = Carried(asker.runtime, chat.inbound)
        closing.on_close(carried.end)
        async for chunk in chatting.pieces(chat, carried, await carried.answer()):
            yield chunk


async def _count(tenant: Who, messages: Messages, models: str | Sequence[str] | None) -> Tokens:
    runtime = await process.opened()
    caller = await _caller(runtime, tenant)
    names = [models] if isinstance(models, str) else models
    return await count_body(runtime, caller, _body(messages, {}), names)


async def _embed(tenant: Who, texts: Sequence[str], model: str | None, way: Way) -> Embeddings:
    asker = await _asker(tenant, way, {"texts": list(texts), "model": model})
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


async def _asker(tenant: Who, way: Way, asked: Mapping[str, Any]) -> asking.Asker:
    """Return who asks, and how; `asked` is what an idempotency key stands for."""
    runtime = await process.opened()
    given = {name: way[name] for name in Way.__annotations__ if name in way}  # type: ignore[literal-required] # its own
    key = given.pop("idempotency_key", None)
    waits = {"total": given.pop("timeout_s")} if "timeout_s" in given else {}
    identifier(way.get("run"), "run")
    return asking.Asker(
        runtime=runtime,
        caller=await _caller(runtime, tenant),
        endpoint=ENDPOINT,
        request_id=new_id(),
        controls=Controls(waits=waits, **given),
        idempotency=None if key is None else asked_once(key, ENDPOINT, asked),
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


def _body(messages: Messages | None, options: Chat) -> dict[str, Any]:
    said = {name: value for name, value in options.items() if name not in Way.__annotations__}
    shape = options.get("response_model")
    if shape is not None:
        del said["response_model"]
        said["response_schema"] = shape.model_json_schema()
    if messages is None:
        return said
    if isinstance(messages, str):
        return {**said, "prompt": messages}
    return {**said, "messages": list(messages)}


def _build(options: Chat) -> asking.Build | None:
    """Return what makes a caller's own object of an answer's value."""
    shape = options.get("response_model")
    return None if shape is None else shape.model_validate

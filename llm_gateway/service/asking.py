"""Ask in the gateway's own words and read the answer: what the native API and Python share."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from llm_gateway.adapters import native, openai_chat, openai_embeddings, sse
from llm_gateway.errors import GatewayError, InvalidRequestError, ModelNotFoundError
from llm_gateway.prompts.answer_schema import Expected, shape_of
from llm_gateway.routing.router import MOST_RACERS
from llm_gateway.routing.ways import way_of
from llm_gateway.service.carried import Carried
from llm_gateway.service.headers import MAX_TOKENS
from llm_gateway.service.inbound import Answer, Controls, Idempotency, Inbound, Unfinished
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.structured import mismatch
from llm_gateway.service.visible import callable_names
from llm_gateway.types import Configuration
from tenants.types import Caller, usd

Build = Callable[[Any], Any]

NATIVE_WORDS = {"prompt", "response_schema"}


class TokenUsage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer; `prompt_tokens` includes cached ones, `completion_tokens` reasoning."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Completion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole answer. `cost_usd` is a decimal string, `object` is for answers by a schema.

    `conversation` is the id of the one it was added to, unless `conversation_kept` is false;
    `optimized` says what went of the prompt, `max_tokens` to how many a budget shortened it.
    """

    content: str
    object: Any
    model: str
    provider: str
    usage: TokenUsage
    cost_usd: str
    response_time_ms: float
    finish_reason: str | None
    cache: str
    attempts: int
    request_id: str
    conversation: str | None = None
    conversation_kept: bool = True
    optimized: Mapping[str, Any] | None = None
    max_tokens: int | None = None


class Chunk(Struct, frozen=True, kw_only=True):
    """A piece of a streamed answer; the last one says why it ended, what it used and cost.

    And to how many tokens a budget shortened it, if one did.
    """

    content: str
    provider: str
    model: str
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    cost_usd: str | None = None
    max_tokens: int | None = None


class Embeddings(Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts."""

    embeddings: Sequence[Sequence[float]]
    model: str
    provider: str
    usage: TokenUsage
    cost_usd: str
    request_id: str


class Asker(Struct, frozen=True, kw_only=True):
    """Who asks, through which door, and what is said beside the body."""

    runtime: Runtime
    caller: Caller
    endpoint: str
    request_id: UUID
    controls: Controls = Controls()
    idempotency: Idempotency | None = None


class BrokenStreamError(GatewayError):
    """A running stream ended early; `problem` is the error as the native dialect told it."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["detail"], param=problem.get("param"))
        self.problem = problem
        self.status, self.code = problem["status"], problem["code"]


def chat(asker: Asker, body: dict[str, Any], build: Build | None = None) -> Inbound:
    """Return a chat request in the native dialect; without a model the default one is asked.

    `build` makes the caller's own object of an answer by `response_schema`, or raises ValueError.
    """
    model = body.get("model") or default_model(asker.runtime, asker.caller, "chat")
    inbound = _inbound(asker, native, "chat", {**body, "model": model})
    schema = body.get("response_schema")
    if schema is None:
        return inbound
    shape = shape_of(schema)
    expects = Expected(shape, build) if build else Expected(shape)
    return msgspec.structs.replace(inbound, expects=expects)


def asked_for(asker: Asker, body: dict[str, Any]) -> Inbound:
    """Return a chat as OpenAI's or the native endpoint takes it, whichever words it has."""
    if NATIVE_WORDS & body.keys():
        return chat(asker, body)
    model = body.get("model") or default_model(asker.runtime, asker.caller, "chat")
    return _inbound(asker, openai_chat, "chat", {**body, "model": model})


def check_racers(names: Sequence[object]) -> None:
    """Raise InvalidRequestError where these models cannot be asked at once."""
    if not 1 < len(set(names)) == len(names) <= MOST_RACERS:
        raise InvalidRequestError(
            f"Send 'models' with 2 to {MOST_RACERS} different names.", param="models"
        )


def racing(asker: Asker, further: Sequence[str]) -> Asker:
    """Return who asks these models together with the one that the body names."""
    if asker.controls.strategy not in {None, "race"}:
        raise InvalidRequestError("A race has no other strategy.", param="strategy")
    controls = msgspec.structs.replace(asker.controls, strategy="race", further=tuple(further))
    return msgspec.structs.replace(asker, controls=controls)


def embed(asker: Asker, texts: object, model: object) -> Inbound:
    """Return an embeddings request; without a model the default one is asked."""
    wanted = model or default_model(asker.runtime, asker.caller, "embeddings")
    body = {"model": wanted, "input": texts, "encoding_format": "float"}
    return _inbound(asker, openai_embeddings, "embeddings", body)


def _inbound(asker: Asker, door: object, operation: str, body: dict[str, Any]) -> Inbound:
    return Inbound(
        request_id=asker.request_id,
        caller=asker.caller,
        door=door,
        operation=operation,
        endpoint=asker.endpoint,
        body=body,
        started=asker.runtime.clock(),
        controls=asker.controls,
        idempotency=asker.idempotency,
    )


def default_model(runtime: Runtime, caller: Caller, capability: str) -> str:
    """Return the first route a caller may call, else the best model. Raises ModelNotFoundError.

    Embeddings come from a model: vectors of several do not compare.
    """
    configuration = runtime.snapshot.current.configuration
    names = callable_names(configuration, caller)
    if capability == "chat":
        for name in names:
            if name in configuration.routes:
                return name
    able = [name for name in names if _can(configuration, name, capability)]
    if not able:
        raise ModelNotFoundError(f"No model for {capability} may be called.", param="model")
    return max(able, key=lambda name: _quality(configuration, name))


def _can(configuration: Configuration, name: str, capability: str) -> bool:
    return any(way_of(capability, (), one) for one in configuration.models.get(name, ()))


def _quality(configuration: Configuration, name: str) -> int:
    return max(one.quality or 0 for one in configuration.models[name])


# --- reading -----------------------------------------------------------------------------------


def completion(answer: Answer, inbound: Inbound, runtime: Runtime) -> Completion:
    """Return a whole chat answer with what only the gateway knows."""
    told = dict(answer.headers)
    said = msgspec.json.decode(answer.body)
    if inbound.expects is not None:
        said["object"] = inbound.expects.read(said["content"]).value
    return Completion(
        **{
            **said,
            "usage": TokenUsage(**said["usage"]),
            "provider": told[b"x-mobius-provider"].decode(),
            "cost_usd": usd(answer.cost_nano()),
            "response_time_ms": round((runtime.clock() - inbound.started) * 1000, 1),
            "cache": told[b"x-mobius-cache"].decode(),
            "attempts": int(told[b"x-mobius-attempts"]),
            "max_tokens": _shortened(told),
        }
    )


def _shortened(told: Mapping[bytes, bytes]) -> int | None:
    tokens = told.get(MAX_TOKENS)
    return None if tokens is None else int(tokens)


def embeddings(answer: Answer) -> Embeddings:
    """Return the vectors of an answer in the OpenAI dialect."""
    told = dict(answer.headers)
    said = msgspec.json.decode(answer.body)
    rows = sorted(said["data"], key=lambda row: row.get("index", 0))
    prompt = said.get("usage", {}).get("prompt_tokens", 0)
    return Embeddings(
        embeddings=[row["embedding"] for row in rows],
        model=told[b"x-mobius-model"].decode(),
        provider=told[b"x-mobius-provider"].decode(),
        usage=TokenUsage(prompt_tokens=prompt, total_tokens=prompt),
        cost_usd=usd(answer.cost_nano()),
        request_id=told[b"x-request-id"].decode(),
    )


async def chunks(
    carried: Carried, answer: Answer, expects: Expected | None = None
) -> AsyncIterator[Chunk]:
    """Yield a streamed chat answer.

    Raises BrokenStreamError where it ends early, SchemaMismatchError at the end of one that is not
    what was expected.
    """
    heard: list[str] = []
    told = dict(answer.headers)
    provider = told[b"x-mobius-provider"].decode()
    problem: Mapping[str, Any] = {}
    try:
        async for said in _frames(carried):
            if "error" in said:
                problem = said["error"]
                continue
            # The frame that has the usage comes after the ledger's commit: the cost is final.
            last: dict[str, Any] = {}
            if "usage" in said:
                last = {"cost_usd": usd(answer.cost_nano()), "max_tokens": _shortened(told)}
            heard.append(said["content"] if expects else "")
            yield msgspec.convert({**said, "provider": provider, **last}, Chunk)
    except Unfinished:
        raise BrokenStreamError(problem) from None
    error = mismatch(expects, "".join(heard)) if expects else None
    if error is not None:
        raise error


async def _frames(carried: Carried) -> AsyncIterator[dict[str, Any]]:
    """Yield what each frame says, to the very end: what is not read to it counts as left."""
    framer = sse.Framer()
    async for piece in carried:
        for frame in framer.feed(piece):
            data = sse.frame_data(frame)
            if data != native.DONE:
                yield msgspec.json.decode(data)

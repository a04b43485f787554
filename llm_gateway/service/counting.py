"""Count the tokens of a request: asked of a provider that counts for free, else counted by us."""

from collections.abc import Iterable
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.adapters import ADAPTERS, native
from llm_gateway.adapters.base import Adapter, CountingAdapter
from llm_gateway.errors import GatewayError, InvalidRequestError, UpstreamError
from llm_gateway.providers.addresses import AddressError
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.routing.router import plan
from llm_gateway.service.asking import default_model
from llm_gateway.service.attempt import Additions
from llm_gateway.service.body import parse_body
from llm_gateway.service.guarding import guarded_call, lookers_at
from llm_gateway.service.headers import of_target
from llm_gateway.service.inbound import Answer, Inbound
from llm_gateway.service.measuring import candidates_of, counts
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, ChatRequest, Outgoing, Target
from tenants.types import Caller

OPERATION = "count_tokens"


class ModelTokens(Struct, frozen=True, kw_only=True):
    """Tokens of a request for one model; `error` is how far off they may be, as a share of them.

    None: nobody can say. `fits` is false where they are surely more than its context window.
    """

    model: str
    provider: str
    tokens: int
    exact: bool
    error: float | None
    context_window: int | None
    fits: bool


class Tokens(Struct, frozen=True, kw_only=True):
    """Tokens of a request: for the model that is asked first, and for each."""

    tokens: int
    data: tuple[ModelTokens, ...]


async def count_for(
    runtime: Runtime, caller: Caller, request: ChatRequest, names: Iterable[str]
) -> Tokens:
    """Return the tokens of a request at every model behind these names, counted by us.

    Raises ModelNotFoundError.
    """
    found = {one.id: one for name in names for one in candidates_of(runtime, caller, name)}.values()
    counted = await counts(request, found)
    data = tuple(
        ModelTokens(
            model=one.name,
            provider=one.provider.name,
            tokens=counted[one.id].tokens,
            exact=counted[one.id].exact,
            error=counted[one.id].error,
            context_window=one.context_window,
            fits=one.context_window is None or counted[one.id].at_least <= one.context_window,
        )
        for one in found
    )
    return Tokens(tokens=data[0].tokens, data=data)


async def count_body(
    runtime: Runtime, caller: Caller, body: dict[str, Any], names: Iterable[str] | None
) -> Tokens:
    """Return the tokens of a native chat; without names, of the model that would be asked.

    Raises InvalidRequestError naming the field, or ModelNotFoundError.
    """
    wanted = list(names) if names is not None else [default_model(runtime, caller, "chat")]
    if not wanted:
        raise InvalidRequestError("'models' must name at least one model.", param="models")
    call = native.parse_call({**body, "model": wanted[0]}, size=0)
    return await count_for(runtime, caller, native.parse_request(call.body), wanted)


async def count_tokens(runtime: Runtime, inbound: Inbound) -> Answer:
    """Return the answer to a question for tokens in the caller's dialect. Raises GatewayError.

    No provider bills the question, so it needs no hold and leaves no entry.
    """
    body: Any = inbound.body
    call = inbound.door.parse_call(
        parse_body(body), size=len(body), operation=OPERATION, **inbound.named
    )
    call = await guarded_call(inbound, call, lookers_at(inbound.caller, "request"))
    decision = plan(
        Ask(
            model=call.model,
            tenant_id=inbound.caller.tenant_id,
            operation="chat",
            models=inbound.caller.models,
        ),
        runtime.snapshot.current.configuration,
        View(now=runtime.clock(), rests=runtime.board.rests),
        runtime.rng,
    )
    error: GatewayError | None = None
    for target in decision.attempts:
        try:
            body = await _count(runtime, inbound.door, call, target)
        except UpstreamError as failed:
            error = failed
        else:
            return Answer(headers=of_target(inbound.request_id, target.deployment), body=body)
    assert error is not None  # noqa: S101 - a plan has at least one attempt
    raise error


async def _count(runtime: Runtime, door: CountingAdapter, call: Call, target: Target) -> bytes:
    deployment = target.deployment
    name = deployment.provider.adapters.get(OPERATION)
    if name == door.name:
        changes = Additions(deployment.upstream_name, None)
        relayed = door.render_relay(call, changes, deployment.provider.quirks)
        return await _ask(runtime, ADAPTERS[name], relayed, target)
    request = door.parse_request(call.body)
    if name is None:
        counted = await counts(request, [deployment])
        return door.render_counted(counted[deployment.id].tokens)
    upstream = cast("CountingAdapter", ADAPTERS[name])
    request = replace(request, model=deployment.upstream_name)
    asked = upstream.render_count(request, deployment.provider.quirks)
    told = await _ask(runtime, upstream, asked, target)
    return door.render_counted(upstream.read_count(told))


async def _ask(runtime: Runtime, adapter: Adapter, outgoing: Outgoing, target: Target) -> bytes:
    provider = target.deployment.provider
    credential = runtime.keyring.credential(target.key.id) if target.key else None
    try:
        endpoint = runtime.endpoint(provider, adapter.name)
    except AddressError as error:
        raise UpstreamError(f"Provider {provider.name}: {error}") from None
    answer = await runtime.egress.free_call(
        endpoint, "POST", outgoing, credential, provider.timeouts
    )
    if answer.status != 200:  # noqa: PLR2004
        raise adapter.parse_error(answer.status, answer.headers, answer.body)
    return answer.body

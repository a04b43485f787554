"""Count the tokens of a request: asked of a provider that counts for free, else estimated by us."""

from typing import Any

import msgspec

from llm_gateway.adapters import ADAPTERS
from llm_gateway.errors import GatewayError, UpstreamError
from llm_gateway.providers.addresses import AddressError
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.routing.router import plan
from llm_gateway.service.attempt import Additions
from llm_gateway.service.body import parse_body
from llm_gateway.service.bounds import estimate
from llm_gateway.service.headers import of_target
from llm_gateway.service.inbound import Answer, Inbound
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, Target

OPERATION = "count_tokens"


async def count_tokens(runtime: Runtime, inbound: Inbound) -> Answer:
    """Return the answer of /v1/messages/count_tokens. Raises GatewayError.

    No provider bills the question, so it needs no hold and leaves no entry.
    """
    body: Any = inbound.body
    call = inbound.door.parse_call(parse_body(body), size=len(body), operation=OPERATION)
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
            body = await _count(runtime, call, target)
        except UpstreamError as failed:
            error = failed
        else:
            return Answer(headers=of_target(inbound.request_id, target.deployment), body=body)
    assert error is not None  # noqa: S101 - a plan has at least one attempt
    raise error


async def _count(runtime: Runtime, call: Call, target: Target) -> bytes:
    if OPERATION in target.deployment.provider.adapters:
        return await _ask(runtime, call, target)
    return msgspec.json.encode({"input_tokens": estimate(call.size)})


async def _ask(runtime: Runtime, call: Call, target: Target) -> bytes:
    deployment, provider = target.deployment, target.deployment.provider
    name = provider.adapters[OPERATION]
    adapter = ADAPTERS[name]
    outgoing = adapter.render_relay(
        call, Additions(deployment.upstream_name, None), provider.quirks
    )
    credential = runtime.keyring.credential(target.key.id) if target.key else None
    try:
        endpoint = runtime.endpoint(provider, name)
    except AddressError as error:
        raise UpstreamError(f"Provider {provider.name}: {error}") from None
    answer = await runtime.egress.free_call(
        endpoint, "POST", outgoing, credential, provider.timeouts
    )
    if answer.status != 200:  # noqa: PLR2004
        raise adapter.parse_error(answer.status, answer.headers, answer.body)
    return answer.body

"""Measure requests in tokens, in a thread of its own: the event loop never counts.

An ordinary request is not looked at. Only what may be longer than a window is counted before it is
sent.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from llm_gateway.errors import InvalidRequestError
from llm_gateway.providers.known_models import token_family
from llm_gateway.routing.candidates import Ask, asked_route
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.runtime import Runtime
from llm_gateway.tokens.counting import Count, count_request
from llm_gateway.types import Call, ChatRequest, Deployment
from tenants.types import Caller

# No language has fewer bytes for a token, so a text of so many times the window may still fit. The
# smallest window there is has 4,096 tokens.
BYTES_PER_TOKEN = 2
SMALLEST_WINDOW = 4096
LOOKED_AT = BYTES_PER_TOKEN * SMALLEST_WINDOW

Result = TypeVar("Result")
_thread = ThreadPoolExecutor(1, thread_name_prefix="mobius-counting")


async def counts(request: ChatRequest, deployments: Iterable[Deployment]) -> dict[int, Count]:
    """Return the tokens of a request by deployment; those of a family are counted once."""
    families = {one.id: family_of(one) for one in deployments}
    wanted = set(families.values())
    found = await in_thread(lambda: {family: count_request(request, family) for family in wanted})
    return {deployment: found[family] for deployment, family in families.items()}


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run what counts where it keeps nobody waiting."""
    return await asyncio.get_running_loop().run_in_executor(_thread, work)


def family_of(deployment: Deployment) -> str:
    return token_family(deployment.provider.kind, deployment.upstream_name)


async def surely(runtime: Runtime, inbound: Inbound, call: Call) -> Mapping[int, int]:
    """Return the least tokens a request has, by deployment whose window it may be too long for."""
    text = call.size - call.media_bytes
    if text <= LOOKED_AT or call.operation != "chat":
        return {}
    tight = [
        one
        for one in candidates_of(runtime, inbound.caller, call.model, inbound.controls.further)
        if one.context_window is not None and text > BYTES_PER_TOKEN * one.context_window
    ]
    if not tight:
        return {}
    with suppress(InvalidRequestError):  # then whoever speaks its dialect judges it
        found = await counts(inbound.door.parse_request(call.body), tight)
        return {deployment: count.at_least for deployment, count in found.items()}
    return {}


def candidates_of(
    runtime: Runtime, caller: Caller, model: str, further: tuple[str, ...] = ()
) -> list[Deployment]:
    """Return the deployments behind a name, in the order of their route.

    Raises ModelNotFoundError.
    """
    configuration = runtime.snapshot.current.configuration
    ask = Ask(model=model, further=further, tenant_id=caller.tenant_id, models=caller.models)
    return [
        one
        for line in asked_route(ask, configuration).targets
        for one in configuration.models.get(line.model, ())
        if one.provider.tenant_id in {None, caller.tenant_id}
    ]

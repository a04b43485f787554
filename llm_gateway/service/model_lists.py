"""Look at providers' model lists, which nobody bills, to learn how providers are without traffic.

A provider that nobody called for its interval is looked at by one process of the fleet. While a
circuit is half open its list is looked at before a caller's request is risked; a list that is there
stands for every probe but the last (`resilience.breaker.after_look`).
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from llm_gateway import metrics
from llm_gateway.adapters.upstream_errors import Complaint, by_status
from llm_gateway.errors import CredentialError, GatewayError, InvalidAnswerError
from llm_gateway.providers.addresses import AddressError
from llm_gateway.resilience.breaker import Outcome, Verdict, outcome_of, waits_for_list
from llm_gateway.routing.health import Health
from llm_gateway.service.rounds import Round, go_round
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Deployment, Outgoing, ProviderConfig
from tenants.secrets import SecretError

AGAIN_S = 1.0  # between looks that fail, until it is sure
PATIENCE = {"first_token": 10.0, "idle": 10.0, "total": 10.0}
_OK = 200

log = logging.getLogger(__name__)


async def look_for_ever(runtime: Runtime) -> None:
    """Look at whatever is due, each provider by itself."""
    began = runtime.clock()

    def looked_at() -> Round:
        for provider, deployments in _looked_at(runtime):
            yield provider.id, partial(_look_where_due, runtime, provider, deployments, began)

    await go_round(looked_at, "model list")


def _looked_at(runtime: Runtime) -> Iterable[tuple[ProviderConfig, list[Deployment]]]:
    """Return the providers that have a list and want it looked at, with their deployments."""
    found: dict[int, tuple[ProviderConfig, list[Deployment]]] = {}
    for deployment in runtime.snapshot.current.deployments.values():
        provider = deployment.provider
        if provider.models_path and provider.health_check.interval:
            found.setdefault(provider.id, (provider, []))[1].append(deployment)
    return found.values()


async def _look_where_due(
    runtime: Runtime, provider: ProviderConfig, deployments: list[Deployment], began: float
) -> None:
    try:
        half_open = _half_open(runtime, provider, deployments)
        if half_open:
            await _probe(runtime, provider, half_open)
        elif await _is_our_turn(runtime, provider, deployments, began):
            await _look_until_sure(runtime, provider, deployments)
    except Exception:
        log.exception("The model list of %s cannot be looked at", provider.name)
        await asyncio.sleep(provider.health_check.interval)


def _half_open(
    runtime: Runtime, provider: ProviderConfig, deployments: list[Deployment]
) -> list[Deployment]:
    """Return those of which a look would tell something."""
    if not runtime.board.list_tells(provider):
        return []
    return [one for one in deployments if waits_for_list(runtime.board.state(one))]


async def _is_our_turn(
    runtime: Runtime, provider: ProviderConfig, deployments: list[Deployment], began: float
) -> bool:
    """Say whether nobody has called or looked for an interval, and nobody else looks now."""
    board, interval = runtime.board, provider.health_check.interval
    known = [board.health.get(one.id, Health()) for one in deployments]
    last = max(began, *(one.measured_at for one in known))
    if (look := board.looks.get(provider.id)) is not None:
        last = max(last, look.at)
    if runtime.clock() < last + interval or any(one.in_flight for one in known):
        return False
    return await board.fleet.turn(f"list{provider.id}", interval)


async def _probe(runtime: Runtime, provider: ProviderConfig, half_open: list[Deployment]) -> None:
    """Look once, for every circuit whose one probe of the fleet is ours."""
    verdicts = [(one, await runtime.board.begin_look(one)) for one in half_open]
    ours = [(one, verdict) for one, verdict in verdicts if verdict.probe]
    if ours:
        await _look(runtime, provider, ours)


async def _look_until_sure(
    runtime: Runtime, provider: ProviderConfig, deployments: list[Deployment]
) -> None:
    """Look at an idle provider; where that fails, as often as it takes to open its circuits."""
    for time in range(provider.breaker.failure_threshold):
        closed = [one for one in deployments if runtime.board.state(one).state == "closed"]
        if not closed:
            return
        if time:
            await asyncio.sleep(AGAIN_S)
        verdicts = [(one, await runtime.board.begin_look(one)) for one in closed]
        error = await _look(runtime, provider, verdicts)
        if outcome_of(error) is not Outcome.FAILURE or not runtime.board.list_tells(provider):
            return


async def _look(
    runtime: Runtime, provider: ProviderConfig, asked: list[tuple[Deployment, Verdict]]
) -> GatewayError | None:
    """Look once and tell the board; return what is wrong, if anything."""
    error: BaseException | None = asyncio.CancelledError()  # says nothing, as a caller who left
    try:
        error = await _problem(runtime, provider)
    finally:
        for deployment, verdict in asked:
            runtime.board.end_look(deployment, verdict, error)
    runtime.board.looked(provider, error)
    metrics.model_list_looked(provider.name, error.category if error else "ok")
    return error


async def _problem(runtime: Runtime, provider: ProviderConfig) -> GatewayError | None:
    """Ask for the list; return what is wrong with the answer."""
    try:
        endpoint = runtime.endpoint(provider, next(iter(provider.adapters.values())))
        key = provider.keys[0] if provider.keys else None
        credential = runtime.keyring.credential(key.id) if key else None
        answer = await runtime.egress.free_call(
            endpoint,
            "GET",
            Outgoing(path=provider.models_path, body=b""),
            credential,
            provider.timeouts.at_most(PATIENCE),
        )
    except (AddressError, SecretError, KeyError):
        return CredentialError("The provider's address or key cannot be used.")
    except GatewayError as error:
        return error
    if answer.status != _OK:
        return by_status(answer.status, Complaint())
    if "json" not in answer.headers.get("content-type", "").lower():
        return InvalidAnswerError("The provider answered with something else than JSON.")
    return None

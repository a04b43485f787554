"""Show circuits as operators read them: every deployment's now, and what became of it before."""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite

from msgspec import Struct

from llm_gateway.models import CircuitChange
from llm_gateway.routing.health import Health
from llm_gateway.service.board import Board
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Deployment

SHOWN_CHANGES = 200


class LookNow(Struct, frozen=True):
    """When the provider's model list was looked at last, and what was wrong: empty if nothing."""

    at: datetime
    error: str


class CircuitNow(Struct, frozen=True, kw_only=True):
    """A deployment's circuit as this process has it; `since` None is since the start."""

    deployment: int
    provider: str
    model: str
    state: str
    reason: str
    last_error: str
    since: datetime | None
    until: datetime | None
    error_rate: float
    in_flight: int
    look: LookNow | None


def circuits_now(runtime: Runtime) -> list[CircuitNow]:
    """Return the circuit of every deployment that is switched on, by name."""
    ahead = runtime.wall_clock() - runtime.clock()
    deployments = runtime.snapshot.current.deployments.values()
    return [_now(runtime.board, one, ahead) for one in sorted(deployments, key=_name)]


def last_changes(deployments: Iterable[int] | None = None) -> list[CircuitChange]:
    """Return the newest changes, of these deployments or of all. Reads the database."""
    rows = CircuitChange.objects.all()
    if deployments is not None:
        rows = rows.filter(deployment_id__in=list(deployments))
    return list(rows[:SHOWN_CHANGES])


def _now(board: Board, deployment: Deployment, ahead: float) -> CircuitNow:
    circuit, health = board.state(deployment), board.health.get(deployment.id, Health())
    return CircuitNow(
        deployment=deployment.id,
        provider=deployment.provider.name,
        model=deployment.name,
        state=circuit.state,
        reason=circuit.reason,
        last_error=circuit.error,
        since=_instant(circuit.since, ahead) if circuit.since else None,
        until=_instant(circuit.until, ahead),
        error_rate=round(health.error_rate, 4),
        in_flight=health.in_flight,
        look=look_at(board, deployment, ahead),
    )


def look_at(board: Board, deployment: Deployment, ahead: float) -> LookNow | None:
    """Return the last look at a deployment's provider; the wall clock is so far ahead of ours."""
    look = board.looks.get(deployment.provider.id)
    return LookNow(datetime.fromtimestamp(look.at + ahead, UTC), look.error) if look else None


def _name(deployment: Deployment) -> tuple[str, str, int]:
    return deployment.name, deployment.provider.name, deployment.id


def _instant(seconds: float, ahead: float) -> datetime | None:
    return datetime.fromtimestamp(seconds + ahead, UTC) if isfinite(seconds) else None

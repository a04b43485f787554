"""Refuse what comes last when a process has too much to do: early, cheaply, the loudest first."""

from collections.abc import Mapping

from msgspec import Struct

from llm_gateway.errors import OverloadedError
from llm_gateway.resilience.retry import again_s
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.stops import stops

MOST = 2_000
# The last places are for those who have few: nobody else's requests fill a process.
_KEPT_FREE, _SHARE = 0.1, 0.5
# So late that also those who have little running would wait too long.
_HOPELESS_S = 1.0


class Load(Struct, frozen=True):
    """What a process has to do: requests it has, those running by tenant, and how late it is."""

    in_flight: int
    by_tenant: Mapping[int, int]
    late: bool
    lag_s: float


def check_pressure(runtime: Runtime, tenant_id: int) -> None:
    """Raise OverloadedError where one more request of the tenant is one too many now."""
    lag = runtime.lag
    load = Load(runtime.in_flight, stops(runtime).by_tenant, lag.late, lag.last)
    reason = too_much(load, tenant_id)
    if reason is not None:
        raise OverloadedError(reason, retry_after_s=again_s(runtime.rng))


def too_much(load: Load, tenant_id: int) -> str | None:
    """Return why one more request of the tenant is one too many, None where it is not."""
    if load.in_flight > MOST:
        return "Too many requests at once."
    own = load.by_tenant.get(tenant_id, 0)
    if load.in_flight > MOST * (1 - _KEPT_FREE) and own >= MOST * _SHARE:
        return "Too many requests of this tenant at once."
    if load.late and (load.lag_s > _HOPELESS_S or own >= _fair(load.by_tenant)):
        return "More requests arrive than can be served."
    return None


def _fair(running: Mapping[int, int]) -> float:
    """Return what each tenant would have running if all had the same; at least one."""
    return max(1.0, sum(running.values()) / max(1, len(running)))

"""Say how long one request may wait, and who says so: of api key, route and caller the shortest.

A target's own timeouts are of its model and provider; what is said here only shortens them.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from llm_gateway.service.inbound import Inbound
from llm_gateway.types import Configuration, Deployment, Timeouts


class Wait(Struct, frozen=True):
    """Seconds at most of one timeout; `by` is api_key, route or request."""

    seconds: float
    by: str


Waits = Mapping[str, Wait]  # by the timeout's name


def waits_of(inbound: Inbound, name: str, configuration: Configuration) -> Waits:
    """Return what binds a request for a name, whichever target answers it."""
    route = None if inbound.controls.further else configuration.routes.get(name)
    shortest: dict[str, Wait] = {}
    for by, said in (
        ("api_key", configuration.key_waits.get(inbound.caller.key_id or 0, {})),
        ("route", route.waits if route is not None else {}),
        ("request", inbound.controls.waits),
    ):
        for timeout, seconds in said.items():
            if timeout not in shortest or seconds < shortest[timeout].seconds:
                shortest[timeout] = Wait(seconds, by)
    return shortest


def timeouts_at(deployment: Deployment, waits: Waits) -> Timeouts:
    """Return the timeouts in force for a request at a deployment."""
    if not waits:
        return deployment.timeouts
    return deployment.timeouts.at_most({name: wait.seconds for name, wait in waits.items()})


def told_waits(waits: Waits) -> list[dict[str, Any]]:
    """Return them as the decision record has them."""
    return [
        {"timeout": name, "seconds": wait.seconds, "by": wait.by} for name, wait in waits.items()
    ]

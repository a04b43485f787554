"""Close what a request opened, whichever way the request ended.

A `finally` in a response generator may run late or never; a scope is opened around the ASGI call.
"""

import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Release = Callable[[], Awaitable[object]]

log = logging.getLogger(__name__)


class Scope:
    """An exit stack: runs every release, last first; one that fails does not stop the others."""

    def __init__(self) -> None:
        self._releases: list[Release] = []

    def on_close(self, release: Release) -> None:
        """Register on the line after the acquire."""
        self._releases.append(release)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._releases:
            release = self._releases.pop()
            try:
                await release()
            except Exception:
                log.exception("A release failed")

"""Be one serving process: uvicorn's server, which leaves in our order and says when it serves."""

from collections.abc import Callable
from socket import socket
from types import FrameType

import uvicorn
from typing_extensions import override

TICKS_A_SECOND = 10  # of uvicorn's
# What still answers when all that spends has ended (pages of the console) has this long.
REST_S, HURRIED_REST_S = 5, 1


def _nobody_asks(_well: bool) -> None:
    """Stand in where nobody watches this process from outside."""


class Server(uvicorn.Server):
    """`serving` is called once it does, `pulse` each second, with whether it makes progress."""

    def __init__(
        self,
        config: uvicorn.Config,
        serving: Callable[[], None],
        pulse: Callable[[bool], None] = _nobody_asks,
    ) -> None:
        super().__init__(config)
        self._serving, self._pulse = serving, pulse

    @override
    async def on_tick(self, counter: int) -> bool:
        from llm_gateway.service import process  # noqa: PLC0415 - needs Django, which is set up now

        if counter % TICKS_A_SECOND == 0:
            self._pulse(not process.is_stuck())
        return await super().on_tick(counter)

    @override
    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._serving()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave, with exit code 0: a stop that was asked for is no death. Again: now."""
        from llm_gateway.service import process  # noqa: PLC0415 - needs Django, which is set up now

        del sig, frame  # whichever asked, and wherever
        self.should_exit = True
        process.leave()

    @override
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        from llm_gateway.service import process  # noqa: PLC0415 - likewise

        leaving = process.leaving()
        if leaving is not None:
            await leaving.noticed()
            for server in self.servers:
                server.close()
            await leaving.emptied()
            self.config.timeout_graceful_shutdown = HURRIED_REST_S if leaving.hurried else REST_S
        await super().shutdown(sockets)

"""Send commands to Redis over one connection, all that gathered at a time, in order.

A call is answered within `CALL_S` or fails; once one has failed all fail at once until Redis
answers in time again, which is tried for ever. One log line tells of each change.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
from hiredis import pack_command  # ten times redis' own, which is plain Python
from msgspec import Struct
from redis.asyncio.connection import AbstractConnection, ConnectionPool

log = structlog.get_logger(__name__)

CALL_S = 0.05
AT_ONCE = 64  # more would take Redis too long to answer within CALL_S
CONNECT_S = 1.0
LATE_S = 0.005  # a timer later than this shows that our own loop was busy
PATIENCE_S = 0.01
RECONNECT_S = (0.1, 1.0)

Argument = str | int
Numbers = list[int]


class AwayError(Exception):
    """Redis did not answer; whether it has done what was asked is unknown."""


class _Command(Struct, eq=False):
    arguments: tuple[Argument, ...]
    answered: asyncio.Future[Numbers] | None
    undo: Callable[[Numbers], None] | None


class Pipe:
    """Belongs to the event loop it was started in. `up` says whether calls are worth making."""

    def __init__(self, url: str, script: str) -> None:
        # No timeout of its own: one timer watches a whole batch.
        self._pool = ConnectionPool.from_url(
            url, socket_timeout=None, socket_connect_timeout=CONNECT_S
        )
        self._script = script
        self._sha = ""
        self._queue: deque[_Command] = deque()
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()  # the first attempt to connect has ended
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._told: bool | None = None
        self.up = False
        self.lost = 0  # commands without an answer that may not have arrived

    async def start(self) -> None:
        """Return when the first attempt to connect has ended, well or not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="limits")
        await self._tried.wait()

    async def close(self) -> None:
        """Send what is queued, then leave."""
        if self._task is None:
            return
        if self.up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), CONNECT_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def send(self, arguments: tuple[Argument, ...]) -> None:
        """Run the script with these arguments some time soon; nobody waits."""
        if self.up:
            self._enqueue(_Command(arguments, None, None))
        else:
            self.lost += 1

    async def call(
        self, arguments: tuple[Argument, ...], undo: Callable[[Numbers], None]
    ) -> Numbers:
        """Return the script's answer. `undo` gets one that came for a caller already gone.

        Raises AwayError when Redis cannot be reached in time.
        """
        if not self.up:
            await self.start()
        if not self.up:
            raise AwayError
        answered: asyncio.Future[Numbers] = asyncio.get_running_loop().create_future()
        self._enqueue(_Command(arguments, answered, undo))
        try:
            return await answered
        except asyncio.CancelledError:
            if answered.done() and not answered.cancelled() and not answered.exception():
                undo(answered.result())
            raise

    def _enqueue(self, command: _Command) -> None:
        self._queue.append(command)
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        waits = 0
        while True:
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # not annotated there
            try:
                await self._open(connection)
                waits = 0
                self._turn(up=True)
                await self._serve(connection)
            except Exception as error:  # noqa: BLE001 - whatever it was: callers must not hang, and we come back
                self._turn(up=False, reason=f"{type(error).__name__}: {error}")
            finally:
                self.up = False
                self._fail_all()
                self._tried.set()
                await connection.disconnect(nowait=True)
            first, longest = RECONNECT_S
            await asyncio.sleep(min(longest, first * 2**waits) * random.uniform(0.8, 1.2))  # noqa: S311 - spreads processes
            waits = min(waits + 1, 5)

    async def _open(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(CONNECT_S):
            await connection.connect()  # type: ignore[no-untyped-call] # not annotated there
            await connection.send_command("SCRIPT", "LOAD", self._script)
            self._sha = (await connection.read_response()).decode()
        async with asyncio.timeout(CALL_S):  # else a slow Redis would come and go for ever
            await connection.send_command("PING")
            await connection.read_response()

    async def _serve(self, connection: AbstractConnection) -> None:
        while True:
            if not self._queue:
                self._idle.set()
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._exchange(connection, min(len(self._queue), AT_ONCE))

    async def _exchange(self, connection: AbstractConnection, size: int) -> None:
        """Send the first `size` commands and hand out their answers; each leaves the queue then."""
        queue = self._queue
        loop = asyncio.get_running_loop()
        due = loop.time() + CALL_S
        packed = [
            pack_command(("EVALSHA", self._sha, *queue[place].arguments))  # type: ignore[arg-type] # any length
            for place in range(size)
        ]
        async with asyncio.timeout(None) as limit:
            self._watch = loop.call_at(due, self._look, limit, due)
            try:
                await connection.send_packed_command(packed, check_health=False)
                for _ in range(size):
                    answer = await connection.read_response()
                    _hand_out(queue.popleft(), answer)
            finally:
                self._watch.cancel()

    def _look(self, limit: asyncio.Timeout, due: float) -> None:
        """End the wait; but where our own loop was late, the answer may be lying here unread."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - due > LATE_S:
            self._watch = loop.call_later(PATIENCE_S, limit.reschedule, now)
        else:
            limit.reschedule(now)

    def _fail_all(self) -> None:
        while self._queue:
            command = self._queue.popleft()
            if command.answered is None:
                self.lost += 1
            elif not command.answered.done():
                command.answered.set_exception(AwayError())
        self._wake.clear()
        self._idle.set()

    def _turn(self, *, up: bool, reason: str = "") -> None:
        self.up = up
        self._tried.set()
        if self._told == up or (up and self._told is None):
            self._told = up
            return
        self._told = up
        if up:
            log.info("limits: Redis is back", commands_lost=self.lost)
        else:
            log.warning("limits: Redis is away, each process keeps its share", reason=reason)


def _hand_out(command: _Command, answer: Numbers) -> None:
    if command.answered is None:
        return
    if command.answered.done():  # cancelled: its caller left while Redis worked
        if command.undo is not None:
            command.undo(answer)
        return
    command.answered.set_result(answer)

"""Send commands to Redis over one connection, all that gathered at a time, in order.

A call is answered within `CALL_S` or fails; once one has failed all fail at once until Redis
answers in time again, which is tried for ever. One log line tells of each change.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hiredis
import structlog
from msgspec import Struct
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from typing_extensions import override

from tenants.limits.plan import WINDOW_S

log = structlog.get_logger(__name__)

CALL_S = 0.05
AT_ONCE = 64  # more would take Redis too long to answer within CALL_S
CONNECT_S = 1.0
LATE_S = 0.005  # a timer later than this shows that our own loop was busy
PATIENCE_S = 0.01
RECONNECT_S = (0.1, 1.0)
FORGETFUL_S = WINDOW_S + 1

Argument = str | int | bytes
Answered = list[Any]  # what the script returns


class AwayError(Exception):
    """Redis did not answer; whether it has done what was asked is unknown."""


class _Command(Struct, eq=False):
    arguments: tuple[Argument, ...]
    answered: asyncio.Future[Answered] | None
    undo: Callable[[Answered], None] | None
    due: float = 0.0  # on the loop's clock, once it is sent


class _Replies(asyncio.Protocol):
    """What Redis says over a connection that redis-py has opened, without its stream reader."""

    def __init__(self, take: Callable[[Any], None], lose: Callable[[Exception], None]) -> None:
        self._parser = hiredis.Reader()
        self._take, self._lose = take, lose

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self._lose(error)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc or ConnectionResetError("Redis closed the connection"))


class Pipe:
    """Belongs to the event loop it was started in. `up` says whether calls are worth making.

    `forgot`: Redis came back as another one less than a window ago, so that what it counted before
    is gone.
    """

    def __init__(
        self,
        url: str,
        script: str,
        what: str = "limits",
        alone: str = "each process keeps its share",
        *,
        quiet: bool = False,
    ) -> None:
        """Tell the log `what` goes through it; `alone` is what happens without Redis.

        `quiet`: another pipe to the same Redis tells it.
        """
        self._quiet = quiet
        # No timeout of its own: one timer watches a whole batch.
        self._pool = ConnectionPool.from_url(
            url, socket_timeout=None, socket_connect_timeout=CONNECT_S
        )
        self._script = script
        self._what = what
        self._told_back = f"{what}: Redis is back"
        self._told_away = f"{what}: Redis is away, {alone}"
        self._sha = ""
        self._queue: deque[_Command] = deque()
        self._sent: deque[_Command] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._broken: asyncio.Future[None] | None = None
        self._flushing = False
        self._tried = asyncio.Event()  # the first attempt to connect has ended
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._told: bool | None = None
        self._server = ""  # the run id of the Redis we knew last
        self._remembering: asyncio.TimerHandle | None = None
        self.up = False
        self.forgot = False
        self.lost = 0  # commands without an answer that may not have arrived

    async def start(self) -> None:
        """Return when the first attempt to connect has ended, well or not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._what)
        await self._tried.wait()

    async def close(self) -> None:
        """Send what is queued, then leave."""
        if self._task is None:
            return
        if self.up and (self._queue or self._sent):
            self._idle.clear()
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
        self, arguments: tuple[Argument, ...], undo: Callable[[Answered], None]
    ) -> Answered:
        """Return the script's answer. `undo` gets one that came for a caller already gone.

        Raises AwayError when Redis cannot be reached in time.
        """
        if not self.up:
            await self.start()
        if not self.up:
            raise AwayError
        answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._enqueue(_Command(arguments, answered, undo))
        try:
            return await answered
        except asyncio.CancelledError:
            if answered.done() and not answered.cancelled() and not answered.exception():
                undo(answered.result())
            raise

    def _enqueue(self, command: _Command) -> None:
        self._queue.append(command)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Send at the end of this turn of the loop, with whatever else gathers in it."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        transport, queue, sent = self._transport, self._queue, self._sent
        size = min(len(queue), AT_ONCE - len(sent))
        if transport is None or size <= 0:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + CALL_S
        packed = []
        for _ in range(size):
            command = queue.popleft()
            command.due = due
            sent.append(command)
            words = ("EVALSHA", self._sha, *command.arguments)
            packed.append(hiredis.pack_command(words))  # type: ignore[arg-type] # any length
        transport.write(b"".join(packed))
        if self._watch is None:
            self._watch = loop.call_at(due, self._look)

    def _take(self, reply: Any) -> None:  # noqa: ANN401 - whatever Redis says
        if isinstance(reply, Exception) or not self._sent:
            self._lose(reply if isinstance(reply, Exception) else ValueError("an unasked reply"))
            return
        _hand_out(self._sent.popleft(), reply)
        if self._queue:
            self._flush_soon()
        elif not self._sent:
            self._idle.set()

    def _lose(self, error: Exception) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

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
                self._transport = None
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
            await connection.send_command("INFO", "server")
            self._meet(await connection.read_response())
        async with asyncio.timeout(CALL_S):  # else a slow Redis would come and go for ever
            await connection.send_command("PING")
            await connection.read_response()

    async def _serve(self, connection: AbstractConnection) -> None:
        """Take the open connection over; returns never, raises what broke it."""
        self._broken = asyncio.get_running_loop().create_future()
        assert connection._writer is not None  # noqa: S101, SLF001 - it is open; no public way
        transport = connection._writer.transport  # noqa: SLF001
        transport.set_protocol(_Replies(self._take, self._lose))
        self._transport = transport
        self._flush()
        try:
            await self._broken
        finally:
            if self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def _meet(self, told: bytes) -> None:
        """Notice a Redis that is not the one from before: restarted, restored or failed over."""
        _, _, rest = told.decode().partition("run_id:")
        before, self._server = self._server, rest.partition("\r\n")[0]
        if before not in {"", self._server}:
            self.forgot = True
            if self._remembering is not None:
                self._remembering.cancel()
            loop = asyncio.get_running_loop()
            self._remembering = loop.call_later(FORGETFUL_S, self._remember)

    def _remember(self) -> None:
        self.forgot = False

    def _look(self) -> None:
        """Give up on what is late; but where our own loop was, the answer may lie here unread."""
        self._watch = None
        if not self._sent:
            return
        loop = asyncio.get_running_loop()
        now, oldest = loop.time(), self._sent[0]
        if now < oldest.due:
            self._watch = loop.call_at(oldest.due, self._look)
        elif now - oldest.due > LATE_S:
            self._watch = loop.call_later(PATIENCE_S, self._give_up, oldest)
        else:
            self._give_up(oldest)

    def _give_up(self, oldest: _Command) -> None:
        if self._sent and self._sent[0] is oldest:
            self._lose(TimeoutError("no answer in time"))
            return
        self._watch = None
        self._look()

    def _fail_all(self) -> None:
        for command in (*self._sent, *self._queue):
            if command.answered is None:
                self.lost += 1
            elif not command.answered.done():
                command.answered.set_exception(AwayError())
        self._sent.clear()
        self._queue.clear()
        self._idle.set()

    def _turn(self, *, up: bool, reason: str = "") -> None:
        self.up = up
        self._tried.set()
        if self._quiet or self._told == up or (up and self._told is None):
            self._told = up
            return
        self._told = up
        if up:
            log.info(self._told_back, commands_lost=self.lost)
        else:
            log.warning(self._told_away, reason=reason)


def _hand_out(command: _Command, answer: Answered) -> None:
    if command.answered is None:
        return
    if command.answered.done():  # cancelled: its caller left while Redis worked
        if command.undo is not None:
            command.undo(answer)
        return
    command.answered.set_result(answer)

"""Stand between two processes over TCP and break what passes, from the moment a call returns.

    with FaultProxy("127.0.0.1", 5432) as proxy:
        proxy.down(stall())        # nothing comes back any more

`up` is towards the server, `down` towards the client; rules are in force for open connections too.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

How = Literal["fin", "rst"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """What happens to bytes of one direction; each rule is one of its own, never equal."""

    delay_s: float = 0
    jitter_s: float = 0
    bytes_per_s: float = 0
    stalled: bool = False
    cut_after: int | None = None
    how: How = "fin"


def passing() -> Rule:
    return Rule()


def delay(ms: float, jitter_ms: float = 0) -> Rule:
    return Rule(delay_s=ms / 1000, jitter_s=jitter_ms / 1000)


def throttle(bytes_per_s: float) -> Rule:
    return Rule(bytes_per_s=bytes_per_s)


def stall() -> Rule:
    """Take bytes and keep them; they go on their way under the next rule."""
    return Rule(stalled=True)


def cut(after_bytes: int, how: How = "fin") -> Rule:
    """End a connection once that many further bytes of this direction have passed."""
    return Rule(cut_after=after_bytes, how=how)


@dataclass(slots=True)
class Counters:
    connections: int = 0
    open: int = 0
    bytes: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})


class FaultProxy:
    """A listener on `port` in front of one server; runs on a thread of its own."""

    def __init__(self, host: str, port: int, rng: random.Random | None = None) -> None:
        self.target = (host, port)
        self.counters = Counters()
        self.rules = {"up": Rule(), "down": Rule()}
        self.port = 0
        self.rng = rng or random.Random(0)
        self.changed = asyncio.Event()
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._hole: list[socket.socket] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._run(self._shut())
        self.drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what a test says

    def up(self, rule: Rule) -> None:
        self._call(lambda: self._rule("up", rule))

    def down(self, rule: Rule) -> None:
        self._call(lambda: self._rule("down", rule))

    def both(self, rule: Rule) -> None:
        self.up(rule)
        self.down(rule)

    def drop(self, how: How = "rst") -> None:
        """End every open connection."""
        self._call(lambda: self._end_all(how))

    def refuse(self) -> None:
        """Refuse new connections and end the open ones."""
        self._run(self._shut())
        self.drop()

    def blackhole(self) -> None:
        """Never answer again: new connections are not even accepted, open ones fall silent."""
        self._run(self._shut())
        self._call(self._dig)
        self.both(stall())

    def restore(self) -> None:
        """Pass everything again, on the same port."""
        self._run(self._listen())
        self.both(passing())

    # --- on the loop's thread

    def _call(self, work: Callable[[], Any]) -> None:
        async def run() -> None:
            work()

        self._run(run())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _rule(self, direction: str, rule: Rule) -> None:
        self.rules[direction] = rule
        self.changed.set()
        self.changed = asyncio.Event()

    def _end_all(self, how: How) -> None:
        for link in set(self._links):
            link.end(how)

    async def _listen(self) -> None:
        await self._shut()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        while self._hole:
            self._hole.pop().close()
        if self._server is not None:
            self._server.close()
            self._server = None

    def _dig(self) -> None:
        """Listen with a queue that our own connections fill: the kernel drops what comes after."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=0)
        self._hole.append(listener)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._hole.append(filler)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counters.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        link = Link(self, {"up": far_writer, "down": writer})
        self._links.add(link)
        self.counters.open += 1
        try:
            async with asyncio.TaskGroup() as group:
                for direction, source in (("up", reader), ("down", far_reader)):
                    lane = Lane(link, direction)
                    group.create_task(lane.take(source))
                    group.create_task(lane.give())
        except* (OSError, LinkEndedError):
            link.end("fin")
        finally:
            self._links.discard(link)
            self.counters.open -= 1


class LinkEndedError(Exception):
    """One side has gone, so the other goes too."""


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy, writers: dict[str, asyncio.StreamWriter]) -> None:
        self.proxy = proxy
        self.writers = writers

    def end(self, how: How) -> None:
        for writer in self.writers.values():
            if how == "rst" and not writer.transport.is_closing():
                line = writer.get_extra_info("socket")
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Lane:
    """One direction of a link: takes bytes as they come, gives them as the rule in force says."""

    def __init__(self, link: Link, direction: str) -> None:
        self.link = link
        self.proxy = link.proxy
        self.direction = direction
        self.kept: deque[tuple[float, bytes]] = deque()  # with the time from which they may pass
        self.arrived = asyncio.Event()
        self.rule = Rule()
        self.passed = 0  # bytes under this rule

    def current(self) -> Rule:
        rule = self.proxy.rules[self.direction]
        if rule is not self.rule:
            self.rule, self.passed = rule, 0
        return rule

    async def take(self, source: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(65536):
            rule = self.current()
            wait_s = rule.delay_s + self.proxy.rng.uniform(0, rule.jitter_s)
            self.kept.append((loop.time() + wait_s, data))
            self.arrived.set()
        self.kept.append((0, b""))
        self.arrived.set()

    async def give(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self.kept:
                self.arrived.clear()
                await self.arrived.wait()
            while self.current().stalled:
                await self.proxy.changed.wait()
            due, data = self.kept.popleft()
            if not data:
                raise LinkEndedError
            await asyncio.sleep(max(0, due - loop.time()))
            await self.pass_on(data)

    async def pass_on(self, data: bytes) -> None:
        rule, writer = self.current(), self.link.writers[self.direction]
        if rule.cut_after is not None:
            data = data[: max(0, rule.cut_after - self.passed)]
        step = max(1, int(rule.bytes_per_s / 20)) if rule.bytes_per_s else len(data)
        for start in range(0, len(data), step or 1):
            piece = data[start : start + step]
            # Counted first, so that whoever has received a byte finds it counted.
            self.passed += len(piece)
            self.proxy.counters.bytes[self.direction] += len(piece)
            writer.write(piece)
            await writer.drain()
            if rule.bytes_per_s:
                await asyncio.sleep(len(piece) / rule.bytes_per_s)
        if rule.cut_after is not None and self.passed >= rule.cut_after:
            self.link.end(rule.how)
            raise LinkEndedError

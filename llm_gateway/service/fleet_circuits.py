"""Make a board's circuits and rests those of the whole fleet, over Redis.

Each process decides by the pure functions of `resilience` on what it knows; Redis adds up what all
of them count and says who was first with a change (`circuits.lua`), so that it is made once. While
Redis is away each decides alone; on its return the stricter state wins. Of the requests only one
that would be a probe waits for Redis, as long as one call may take.
"""

import asyncio
import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from llm_gateway.resilience.breaker import PROBE_S, Breaker, Counts, State, Transition, at, stricter
from llm_gateway.routing.health import Look, RestKey
from llm_gateway.service.board import CLOSED, Board, Fleet
from llm_gateway.service.circuit_log import show
from llm_gateway.snapshot import SnapshotHolder
from llm_gateway.types import Deployment
from tenants.limits.pipe import AwayError, Pipe

BATCH_S = 0.1
READ_EVERY_S = 1.0
CONNECT_S = LISTEN_AGAIN_S = 1.0
FRESH = "0 closed"

log = structlog.get_logger(__name__)

Tell = Callable[[Deployment, Transition], None]


@cache
def script() -> str:
    return Path(__file__).with_name("circuits.lua").read_text()


class Record(Struct, frozen=True, array_like=True):
    """What of a circuit is the fleet's; times are seconds of Redis' clock, None is never."""

    reason: str
    error: str
    order: int
    since: float
    until: float | None
    openings: int
    successes: int


class Known(Struct, frozen=True):
    """What Redis holds of a circuit, as we heard last, and the local circuit that stands for it."""

    mark: str = FRESH
    circuit: Breaker = CLOSED

    @property
    def state(self) -> str:
        return self.mark.partition(" ")[2]


class Tally(Struct):
    """Calls of a closed circuit that Redis has not heard of."""

    calls: int = 0
    failures: int = 0
    in_a_row: int = 0
    unbroken: bool = True  # none succeeded, so that the row of before goes on


class FleetCircuits(Fleet):
    """Belongs to one event loop. `tell` hears of each change that this process was first with."""

    def __init__(
        self,
        url: str,
        installation: str,
        board: Board,
        clock: Callable[[], float],
        snapshot: SnapshotHolder,
        tell: Tell,
    ) -> None:
        self._url, self._board, self._clock = url, board, clock
        self._ours = f"{{brk:{installation}}}"  # ids are those of one database
        self._circuits = f"{self._ours}:circuits"  # also the channel that tells of changes
        self._snapshot, self._tell = snapshot, tell
        self._pipe = Pipe(url, script(), "circuits", "each process decides alone")
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._known: dict[int, Known] = {}
        self._tallies: dict[int, Tally] = {}
        self._untold: dict[int, list[Transition]] = {}
        self._changed: set[int] = set()
        self._ended_probes: set[int] = set()
        self._rests: dict[RestKey, float] = {}
        self._looks: dict[int, Look] = {}
        self._ahead = 0.0  # of our clock, Redis'
        self._read_at = -math.inf
        self.joined = False  # else this process decides alone
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the fleet as it stands. Never fails: without Redis this process decides alone."""
        await self._pipe.start()
        await self._understood()
        self._tasks = [
            asyncio.create_task(self._run(), name="fleet circuits"),
            asyncio.create_task(self._listen(), name="fleet circuits heard"),
        ]

    async def close(self) -> None:
        # Again until it is heard: redis-py swallows what comes while it connects.
        while running := [task for task in self._tasks if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=BATCH_S)
        await self._pipe.close()

    # --- what the board tells ------------------------------------------------------------------

    @override
    def counted(self, deployment: Deployment, *, failed: bool) -> None:
        if not self.joined:
            return
        tally = self._tallies.get(deployment.id)
        if tally is None:
            tally = self._tallies[deployment.id] = Tally()
        tally.calls += 1
        if failed:
            tally.failures += 1
            tally.in_a_row += 1
            self._wake.set()  # else a fleet would fail for as long as a batch gathers
        else:
            tally.in_a_row, tally.unbroken = 0, False

    @override
    def changed(self, deployment: Deployment, change: Transition | None) -> None:
        if not self.joined:
            if change is not None:
                self._tell(deployment, change)
            return
        if change is not None:
            self._untold.setdefault(deployment.id, []).append(change)
        self._changed.add(deployment.id)
        self._wake.set()

    @override
    def probed(self, deployment: Deployment) -> None:
        self._ended_probes.add(deployment.id)
        self._wake.set()

    @override
    def rested(self, key: RestKey, until: float) -> None:
        self._rests[key] = until
        self._wake.set()

    @override
    def looked(self, provider_id: int, look: Look) -> None:
        self._looks[provider_id] = look
        self._wake.set()

    @override
    async def turn(self, what: str, seconds: float) -> bool:
        """Say whether it is ours to look at something for so long; alone, it always is."""
        if not self.joined:
            return True
        taking = ("turn", self._process, int(seconds * 1000))
        try:
            _, ours = await self._ask(what, *taking)
        except AwayError:
            return True
        return bool(ours)

    @override
    async def claim(self, deployment: Deployment) -> bool:
        """Say whether the fleet's probe is ours; where Redis does not answer, it is."""
        if not self.joined:
            return True
        known = self._known.get(deployment.id, Known())
        ours = self._board.circuits[deployment.id]
        # Both are sent at once: the claim holds only where the change before it was made.
        mark = known.mark if _same(ours, known.circuit) else _next(known.mark, ours.state)
        claiming = ("claim", mark, self._process, int(PROBE_S * 1000))
        try:
            _, answer = await asyncio.gather(
                self._send_change(deployment), self._ask(deployment.id, *claiming)
            )
        except AwayError:
            return True
        if not answer[1]:
            self._read_at = -math.inf
            self._wake.set()
        return bool(answer[1])

    # --- what goes to Redis and comes back -------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_S):
                    await self._wake.wait()
            self._wake.clear()
            if not await self._understood():
                await asyncio.sleep(READ_EVERY_S)

    async def _understood(self) -> bool:
        """Take a turn; say whether what Redis holds made sense. Requests go on in any case."""
        try:
            await self._turn()
        except Exception:
            # What somebody else wrote there must not end this for good.
            log.exception("circuits: what Redis holds is not understood")
            self._part()
            return False
        return True

    async def _turn(self) -> None:
        """Tell Redis what is new, and hear it where that is due."""
        if not self._pipe.up:
            self._part()
            return
        try:
            if not self.joined:
                await self._join()
            await self._send_all()
            if self._clock() - self._read_at >= READ_EVERY_S:
                await self._read()
        except AwayError:
            self._part()

    async def _join(self) -> None:
        """Hear how things stand, as if for the first time."""
        self._known.clear()
        await self._read()
        self.joined = True
        self._changed.update(self._board.circuits)

    async def _send_all(self) -> None:
        await self._send_changes()
        tallies, self._tallies = self._tallies, {}
        deployments = self._snapshot.current.deployments
        await asyncio.gather(
            *(self._send_tally(deployments[n], t) for n, t in tallies.items() if n in deployments)
        )
        await self._send_changes()
        # After the change that a probe made: who claims the next one has to know of it.
        probes, self._ended_probes = self._ended_probes, set()
        await asyncio.gather(*(self._ask(n, "free", self._process) for n in probes))
        rests, self._rests = self._rests, {}
        await asyncio.gather(*(self._send_rest(key, until) for key, until in rests.items()))
        looks, self._looks = self._looks, {}
        await asyncio.gather(*(self._send_look(place, look) for place, look in looks.items()))

    async def _send_changes(self) -> None:
        changed, self._changed = self._changed, set()
        deployments = self._snapshot.current.deployments
        await asyncio.gather(
            *(self._send_change(deployments[n]) for n in changed if n in deployments)
        )

    async def _send_tally(self, deployment: Deployment, tally: Tally) -> None:
        known = self._known.get(deployment.id, Known())
        if known.state != "closed":
            return
        numbers = (tally.calls, tally.failures, tally.in_a_row, int(tally.unbroken))
        _, taken, stored, *counts = await self._ask(deployment.id, "count", known.mark, *numbers)
        if not taken:
            self._hear(deployment, stored)
            return
        row, calls, failures, past_calls, past_failures = counts
        seen = Counts(row, calls, failures, float(past_calls), float(past_failures))
        self._board.judge(deployment, seen)

    async def _send_change(self, deployment: Deployment) -> None:
        """Make our circuit the fleet's, or the fleet's ours, until they are the same."""
        while True:
            known = self._known.get(deployment.id, Known())
            ours = self._board.circuits.get(deployment.id, CLOSED)
            if _same(ours, known.circuit):
                return
            sent = (known.mark, ours.state, self._encoded(ours))
            _, taken, stored = await self._ask(deployment.id, "change", *sent)
            if taken:
                self._known[deployment.id] = Known(_next(known.mark, ours.state), ours)
                self._tell_all(deployment)
            else:
                self._hear(deployment, stored)

    async def _send_rest(self, key: RestKey, until: float) -> None:
        name = ":".join("" if part is None else str(part) for part in key)
        await self._ask(name, "rest", int((until + self._ahead) * 1000))

    async def _send_look(self, provider_id: int, look: Look) -> None:
        theirs = msgspec.structs.replace(look, at=look.at + self._ahead)
        await self._ask(provider_id, "looked", msgspec.json.encode(theirs).decode())

    async def _read(self) -> None:
        """Hear every circuit, every rest and what was seen of model lists."""
        now, circuits, rests, looks = await self._ask("", "read")
        self._read_at = self._clock()
        self._ahead = now / 1000 - self._read_at
        stored = {int(name): record for name, record in _pairs(circuits)}
        for place, deployment in self._snapshot.current.deployments.items():
            if place in stored or place in self._known or place in self._board.circuits:
                self._hear(deployment, stored.get(place, b""))
        for name, ends in _pairs(rests):
            until = int(ends) / 1000 - self._ahead
            if until > self._clock():
                self._board.rest_until(_rest_key(name.decode()), until)
        for name, encoded in _pairs(looks):
            look = msgspec.json.decode(encoded, type=Look)
            ours = msgspec.structs.replace(look, at=look.at - self._ahead)
            self._board.adopt_look(int(name), ours)

    async def _ask(self, name: int | str, operation: str, *arguments: str | int) -> list[Any]:
        keys = (
            self._circuits,
            f"{self._ours}:rests:{self._snapshot.current.version}",
            f"{self._ours}:calls:{name}",
            f"{self._ours}:probe:{name}",
            f"{self._ours}:looks",
        )
        return await self._pipe.call((len(keys), *keys, operation, name, *arguments), _nothing)

    async def _listen(self) -> None:
        """Read as soon as another process says that something changed."""
        while True:
            with suppress(RedisError, OSError):
                await self._hear_calls()
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _hear_calls(self) -> None:
        async with (
            Redis.from_url(self._url, socket_connect_timeout=CONNECT_S) as redis,
            redis.pubsub() as channel,
        ):
            await channel.subscribe(self._circuits)
            async for _ in channel.listen():
                self._read_at = -math.inf
                self._wake.set()

    # --- who is right --------------------------------------------------------------------------

    def _hear(self, deployment: Deployment, stored: bytes) -> None:
        """Take in what Redis holds: it is the fleet's, unless ours follows it or is stricter."""
        # Of what was not there when we joined, we know just that.
        known = self._known.get(deployment.id, Known() if self.joined else None)
        mark, theirs = self._decoded(stored)
        if known is not None and known.mark == mark:
            return
        ours = self._board.circuits.get(deployment.id, CLOSED)
        if self._theirs_hold(known, ours, mark, theirs):
            # Another process was first with it: that one tells, we show.
            for change in self._untold.pop(deployment.id, ()):
                show(deployment, change)
            self._board.adopt(deployment, theirs)
            self._known[deployment.id] = Known(mark, self._board.circuits[deployment.id])
        else:
            self._known[deployment.id] = Known(mark, theirs)
            self._changed.add(deployment.id)

    def _theirs_hold(self, known: Known | None, ours: Breaker, mark: str, theirs: Breaker) -> bool:
        if known is None or mark == FRESH:  # we were away, or Redis forgot
            now = self._clock()
            theirs = at(theirs, now)
            return stricter(at(ours, now), theirs) is theirs
        if ours.order != theirs.order:
            return ours.order < theirs.order
        if theirs.order > known.circuit.order:  # the same order, obeyed elsewhere first
            return True
        # Where they only went on in the state that ours follows, ours is the next.
        return _same(ours, known.circuit) or known.state != theirs.state

    def _part(self) -> None:
        """Decide alone from now on."""
        self.joined = False
        self._tallies.clear()
        self._changed.clear()
        self._rests.clear()
        self._looks.clear()
        for place in list(self._untold):
            if deployment := self._snapshot.current.deployments.get(place):
                self._tell_all(deployment)

    def _tell_all(self, deployment: Deployment) -> None:
        for change in self._untold.pop(deployment.id, ()):
            self._tell(deployment, change)

    # --- records ---------------------------------------------------------------------------------

    def _encoded(self, circuit: Breaker) -> str:
        until = circuit.until + self._ahead
        record = Record(
            reason=circuit.reason,
            error=circuit.error,
            order=circuit.order,
            since=circuit.since + self._ahead,
            until=until if math.isfinite(until) and circuit.state != "half_open" else None,
            openings=circuit.openings,
            successes=circuit.successes,
        )
        return msgspec.json.encode(record).decode()

    def _decoded(self, stored: bytes) -> tuple[str, Breaker]:
        """Return the mark of what Redis holds, and the circuit."""
        version, _, rest = stored.decode().partition(" ")
        state, _, encoded = rest.partition(" ")
        if not encoded:
            return FRESH, CLOSED
        record = msgspec.json.decode(encoded, type=Record)
        return f"{version} {state}", Breaker(
            state=msgspec.convert(state, State),
            reason=record.reason,
            error=record.error,
            order=record.order,
            since=record.since - self._ahead,
            until=math.inf if record.until is None else record.until - self._ahead,
            openings=record.openings,
            successes=record.successes,
        )


def _same(one: Breaker, other: Breaker) -> bool:
    """Say whether two circuits are one for the fleet; what a process keeps to itself may differ."""
    if one.state == other.state == "closed":
        return one.order == other.order
    return (one.state, one.since, one.successes, one.order) == (
        other.state,
        other.since,
        other.successes,
        other.order,
    )


def _next(mark: str, state: str) -> str:
    return f"{int(mark.partition(' ')[0]) + 1} {state}"


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _rest_key(name: str) -> RestKey:
    deployment, _, key = name.partition(":")
    return int(deployment) if deployment else None, int(key) if key else None


def _nothing(_: object) -> None:
    """Undo what nobody waits for any more: a probe's slot ends by itself."""

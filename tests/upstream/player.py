"""Play one script on one connection; what is not scripted is the honest rest of the answer."""

import asyncio
import random
import zlib
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from tests.upstream.body import PHRASES, Body, CutError, Line
from tests.upstream.book import Call
from tests.upstream.wire import Event, Json, dump

MIB = 1 << 20
IMPROVISED = {"raw", "garbage", "gzip_bomb", "error", "end"}


class Waits(Protocol):
    """What an answer asks of the rest of the process."""

    def now(self) -> float: ...
    async def gate(self, name: str) -> None: ...


class EndedError(Exception):
    """The script ended the answer: cleanly on the wire, but early."""


class Player:
    def __init__(self, line: Line, call: Call, waits: Waits) -> None:
        self.body = Body(line, f"req_up{call.n}")
        self.call = call
        self.waits = waits
        self.rest = list(call.events)
        self.played = 0  # events
        self.improvises = any(IMPROVISED & set(step) for step in call.script.steps)

    async def play(self) -> str:
        """Return how it ended: complete, ended or cut."""
        try:
            for step in self.call.script.steps:
                await self._step(step)
            await self._events({"events": None})
            if self.body.cut:
                await self.body.hang_up()
        except CutError:
            return "cut"
        except EndedError:
            return "ended"
        self.body.close()
        await self.body.line.drained()
        return "complete"

    async def _step(self, step: Json) -> None:
        name = next(name for name in step if name in STEPS)
        await STEPS[name](self, step)

    # --- what the following steps go by

    async def _status(self, step: Json) -> None:
        self.body.status = step["status"]

    async def _header(self, step: Json) -> None:
        name, value = step["header"]
        self.body.headers.append((name, value))

    async def _split(self, step: Json) -> None:
        self.body.split = step["split"]

    async def _line_end(self, step: Json) -> None:
        self.body.line_end = step["line_end"].encode()

    async def _rate(self, step: Json) -> None:
        self.body.rate = step["rate"]

    async def _cut(self, step: Json) -> None:
        """Now, or at a byte or an event that is still to come; short_length also at the end."""
        self.body.cut = step
        armed = step["cut"] == "short_length" or "at_byte" in step or "at_event" in step
        if not armed or step.get("at_byte") == 0 or step.get("at_event") == 0:
            await self.body.hang_up()

    # --- what waits

    async def _wait_ms(self, step: Json) -> None:
        await asyncio.sleep(step["wait_ms"] / 1000)

    async def _gate(self, step: Json) -> None:
        await self.waits.gate(step["gate"])

    async def _stall(self, _step: Json) -> None:
        await asyncio.get_running_loop().create_future()

    # --- what sends

    async def _head(self, _step: Json) -> None:
        self._open(self._length())
        self.body.write()

    async def _events(self, step: Json) -> None:
        """Send the next n events, or all that are left; without a pause, in one write."""
        self._open(self._length())
        count = len(self.rest) if step["events"] is None else step["events"]
        chosen, self.rest = self.rest[:count], self.rest[count:]
        every_ms = step.get("every_ms", 0)
        if not every_ms and not self.body.paced():
            self.call.generated += sum(event.tokens for event in chosen)
            self.body.write(*[event.payload for event in chosen])
            self._count(chosen)
            return await self.body.line.drained()
        for event in chosen:
            await self._event(event)
            await asyncio.sleep(every_ms / 1000)
        return None

    async def _event(self, event: Event) -> None:
        self.call.generated += event.tokens
        await self.body.send(event.payload)
        self._count([event])
        if self.body.cut.get("at_event") == self.played:
            await self.body.hang_up()

    def _count(self, events: Iterable[Event]) -> None:
        for event in events:
            self.played += 1
            self.call.sent += event.tokens
            self.call.reported = event.usage or self.call.reported

    async def _raw(self, step: Json) -> None:
        """Bytes as they are, in base64; `bare` ones take the place of the head as well.

        `total`: the same again and again until there are so many.
        """
        if step.get("bare"):
            self.body.framing = "close"
        self._open(None)
        payload = b64decode(step["raw"])
        for _ in range(max(1, step.get("total", 0) // len(payload) if payload else 1)):
            await self.body.send(payload)
            await self.body.line.drained()
            self.call.sent_bytes = self.body.sent_bytes
            await asyncio.sleep(0)  # to hear of a caller that leaves

    async def _garbage(self, step: Json) -> None:
        self._open(None)
        await self.body.send(random.Random(step["garbage"]).randbytes(step["garbage"]))

    async def _gzip_bomb(self, step: Json) -> None:
        self.body.headers.append(("Content-Encoding", "gzip"))
        self._open(None)
        for block in zeros_in_gzip(step["gzip_bomb"]):
            await self.body.send(block)
        await self._end({})

    async def _error(self, step: Json) -> None:
        """An answer of its own with its status; after the head or a status of 200, an event."""
        told: Json = step["error"]
        status = told.get("status", 500)
        message = told.get("message", PHRASES.get(status, "Scripted"))
        error = told.get("body") or self.call.dialect.error(status, message)
        if self.call.prompt.stream and (self.body.framing or self.body.status == 200):
            payload, length = self.call.dialect.error_event(error), None
        else:
            payload = dump(error)
            length = len(payload)
        self.body.status = self.body.status or status
        self._open(length)
        await self.body.send(payload)
        await self._end({})

    async def _end(self, _step: Json) -> None:
        self._open(0)
        self.body.close()
        await self.body.line.drained()
        raise EndedError

    # --- head

    def _open(self, length: int | None) -> None:
        if self.body.framing:
            return
        streamed = self.call.prompt.stream and self.body.status in {0, 200}
        self.body.open(streamed=streamed, length=length)
        self.call.status = self.body.status
        self.call.first_byte_at = self.waits.now()

    def _length(self) -> int | None:
        """Return the length to declare for the scripted answer, None where it goes in chunks."""
        total = sum(len(event.payload) for event in self.call.events)
        if self.body.cut.get("cut") == "short_length":
            return total + 64
        return None if self.call.prompt.stream or self.improvises else total


Step = Callable[[Player, Json], Awaitable[None]]
STEPS: dict[str, Step] = {
    "status": Player._status,
    "header": Player._header,
    "split": Player._split,
    "rate": Player._rate,
    "line_end": Player._line_end,
    "cut": Player._cut,
    "wait_ms": Player._wait_ms,
    "gate": Player._gate,
    "stall": Player._stall,
    "head": Player._head,
    "events": Player._events,
    "raw": Player._raw,
    "garbage": Player._garbage,
    "gzip_bomb": Player._gzip_bomb,
    "error": Player._error,
    "end": Player._end,
}


def zeros_in_gzip(size: int) -> Iterator[bytes]:
    """Yield a gzip stream that unpacks to whole MiB of zeros, made without making them."""
    count = max(1, size // MIB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # A full flush forgets what came before, so that every further MiB is the same bytes.
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    check = 0
    for _ in range(count):
        yield block
        check = zlib.crc32(bytes(MIB), check)
    length = count * MIB % 2**32
    yield packer.flush() + check.to_bytes(4, "little") + length.to_bytes(4, "little")

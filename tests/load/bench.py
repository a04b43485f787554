"""`make bench`: measure the gateway with everything on against the thin pass-through, one table.

The server has one core, the load and the mock provider the other; PostgreSQL and Redis are local.
The machine is noisy: CPU per request and ratios are what to compare. Seconds per figure and
repeats: BENCH_SECONDS (10) and BENCH_REPEATS (3). `--json FILE` keeps the figures as well;
`--only cache` takes that group of figures alone. What takes a fifth more CPU than was recorded, as
a multiple of what the pass-through takes, is told; `--record` writes down what it takes now.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Struct, structs

from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed, migrate_into
from tests.harness.processes import Process, free_port
from tests.harness.services import postgres, redis_server
from tests.load.deciding import BAR_US
from tests.load.mock_upstream import SLOW_S, SLOW_WORDS
from tests.load.protocol import Shot, closed_loop, open_loop, post

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
SERVER_CORE, LOAD_CORE = {0}, {1}
KEY = "mob_bench-key-0123456789abcdefghijklmnop"
CACHED_KEY = f"{KEY}-cached"
# Streams that begin at different times, as callers' do; and all 64 in the same millisecond, again
# and again, where the median waits for 32 others to be admitted.
SLOW_STREAMS = (("begun at different times", SLOW_WORDS * SLOW_S, 5), ("begun at once", 0.0, None))
TICK = os.sysconf("SC_CLK_TCK")
RECORDED = Path(__file__).with_name("recorded.json")
MORE = 0.2


class Row(Struct):
    """One line of the table."""

    figure: str
    value: str
    bar: str
    met: bool | None = None
    times_thin: float | None = None  # CPU, as a multiple of the pass-through's


def configuration(upstream: int) -> dict[str, Any]:
    """Return a gateway with everything on: key, rates, budgets on three levels, prices, log."""
    price = [{"from": "2024-01-01", "input": "1.00", "output": "2.00"}]
    return {
        "version": 1,
        "providers": [
            {
                "name": "bench",
                "kind": "openai",
                "base_url": f"http://127.0.0.1:{upstream}/v1",
                "allow_private_network": True,
                "max_concurrent_requests": 2000,
                "keys": [{"name": "main", "value": "sk-bench-000000000000"}],
            }
        ],
        "models": [
            {"name": name, "provider": "bench", "prices": price}
            for name in ("json", "fast", "slow")
        ],
        "tenants": [
            _tenant("bench", KEY),
            _tenant("cached", CACHED_KEY) | {"cache": {"enabled": True, "ttl": 3600}},
        ],
    }


def _tenant(name: str, value: str) -> dict[str, Any]:
    budget = {"limit": "1000000.00", "period": "month"}
    rates = {
        "requests_per_minute": 10_000_000,
        "tokens_per_minute": 2_000_000_000,
        "concurrency": 5000,
    }
    key = {"name": "k", "value": value, "project": "p", "rate_limits": rates}
    return {
        "name": name,
        "budgets": [{"name": "tenant", **budget}],
        "rate_limits": rates,
        "projects": [{"name": "p", "budgets": [{"name": "project", **budget}]}],
        "keys": [{**key, "budgets": [{"name": "key", **budget}]}],
    }


def request(model: str, *, stream: bool = False, key: str = KEY) -> bytes:
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say hello to the benchmark, please."},
        ],
        "max_tokens": 200,
    }
    if stream:
        body["stream"] = True
    return post("/v1/chat/completions", json.dumps(body).encode(), f"Authorization: Bearer {key}")


# --- the machine --------------------------------------------------------------------------------


@contextmanager
def on_core(cores: set[int]) -> Iterator[None]:
    """Pin what is started inside; children inherit it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError("no VmRSS")


# --- measuring ----------------------------------------------------------------------------------


class Measured(Struct):
    """Medians over the repeats."""

    per_second: float
    events_per_second: float
    cpu_us: float
    cpu_us_event: float
    p50_ms: float
    p99_ms: float
    first_ms: float
    spread: float
    failed: int


Load = Callable[[], Awaitable[list[Shot]]]


def measure(load: Load, pid: int, repeats: int = REPEATS) -> Measured:
    """Run a load several times against a server process."""
    runs = [_once(load, pid) for _ in range(repeats)]
    rates = [run.per_second for run in runs]
    middle = {
        name: statistics.median(getattr(run, name) for run in runs)
        for name in ("events_per_second", "cpu_us", "cpu_us_event", "p50_ms", "p99_ms", "first_ms")
    }
    return Measured(
        per_second=statistics.median(rates),
        spread=(max(rates) - min(rates)) / statistics.median(rates),
        failed=sum(run.failed for run in runs),
        **middle,
    )


def _once(load: Load, pid: int) -> Measured:
    cpu, started = cpu_s(pid), time.perf_counter()
    shots: list[Shot] = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_awaited(load))
    seconds, cpu = time.perf_counter() - started, cpu_s(pid) - cpu
    good = [shot for shot in shots if shot.status == 200]
    events = sum(shot.events for shot in good) or 1
    totals = sorted(shot.total_s for shot in good)
    return Measured(
        per_second=len(good) / seconds,
        events_per_second=events / seconds,
        cpu_us=cpu / len(good) * 1e6,
        cpu_us_event=cpu / events * 1e6,
        p50_ms=_percentile(totals, 0.50) * 1000,
        p99_ms=_percentile(totals, 0.99) * 1000,
        first_ms=statistics.median(shot.first_event_s for shot in good) * 1000,
        spread=0.0,
        failed=len(shots) - len(good),
    )


async def _awaited(load: Load) -> list[Shot]:
    return await load()


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def closed(
    port: int, data: bytes, connections: int, *, streamed: bool = False, spread_s: float = 0.0
) -> Load:
    return partial(
        closed_loop,
        port,
        data,
        connections=connections,
        seconds=SECONDS,
        streamed=streamed,
        spread_s=spread_s,
    )


class Bench(Struct, frozen=True):
    """What is measured: the gateway and the pass-through, each by its process and port."""

    pid: int
    port: int
    thin_pid: int
    thin_port: int

    def both(self, data: bytes, connections: int, **how: Any) -> tuple[Measured, Measured]:
        return (
            measure(closed(self.port, data, connections, **how), self.pid),
            measure(closed(self.thin_port, data, connections, **how), self.thin_pid),
        )


def warm_up(bench: Bench) -> None:
    say("warming up")
    for port, pid in ((bench.port, bench.pid), (bench.thin_port, bench.thin_pid)):
        measure(partial(closed_loop, port, request("json"), connections=16, seconds=2), pid, 1)


def whole(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    for connections in (1, 16, 64, 256):
        say(f"whole answers, {connections} connections")
        rows += _whole_rows(connections, *bench.both(request("json"), connections))
    return rows


def steady(bench: Bench) -> list[Row]:
    say("300 requests a second")
    load = partial(open_loop, bench.port, request("json"), rate=300, seconds=SECONDS)
    return [row("p99 at 300 requests/s", measure(load, bench.pid).p99_ms, "ms", 25)]


def streams(bench: Bench) -> list[Row]:
    say("streams at full speed")
    ours, base = bench.both(request("fast", stream=True), 64, streamed=True)
    per_second = ours.events_per_second
    rows = [
        row("streamed events/s, 64 streams", per_second, "", 15_000, least=True),
        beside("CPU an event", ours.cpu_us_event, base.cpu_us_event, "us"),
    ]
    for name, spread_s, bar in SLOW_STREAMS:
        say(f"slow streams, {name}")
        slow = request("slow", stream=True)
        ours, base = bench.both(slow, 64, streamed=True, spread_s=spread_s)
        added = ours.first_ms - base.first_ms
        rows.append(row(f"first token added, 64 slow streams, p50, {name}", added, "ms", bar))
    return rows


def cache(bench: Bench) -> list[Row]:
    hit = request("json", key=CACHED_KEY)
    say("answers given again")
    alone = measure(closed(bench.port, hit, 1), bench.pid)
    crowd = measure(closed(bench.port, hit, 64), bench.pid)
    base = measure(closed(bench.thin_port, request("json"), 64), bench.thin_pid)
    return [
        row("exact cache hit, p50, 1 connection", alone.p50_ms, "ms", 1),
        row("exact cache hits/s, 64 connections", crowd.per_second, "", 3_000, least=True),
        beside("CPU a hit", crowd.cpu_us, base.cpu_us, "us"),
    ]


def _deciding() -> Row:
    """Take what circuits and routing cost, in a process that does nothing else."""
    say("deciding where a request goes")
    command = [sys.executable, "-m", "tests.load.deciding"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    routing_us, circuit_us = map(float, said.split())
    return row("circuit and routing decision", routing_us + circuit_us, "us", BAR_US)


GROUPS: Mapping[str, Callable[[Bench], list[Row]]] = {
    "whole": whole,
    "steady": steady,
    "streams": streams,
    "cache": cache,
    "deciding": lambda _bench: [_deciding()],
}


def compare(bench: Bench, start_s: float, groups: Sequence[str]) -> list[Row]:
    """Take the figures of performance.md, the pass-through beside the gateway."""
    idle_mb = memory_mb(bench.pid)
    warm_up(bench)
    rows = [each for name in groups for each in GROUPS[name](bench)]
    return [
        *rows,
        row("memory idle", idle_mb, "MB", 200),
        row("memory after load", memory_mb(bench.pid), "MB", 300),
        row("start to first answer", start_s, "s", 5),
    ]


def _whole_rows(connections: int, ours: Measured, base: Measured) -> list[Row]:
    rows = []
    name = f"requests/s, {connections} connections"
    bar = 1_500 if connections == 64 else None
    rows.append(row(name, ours.per_second, f"(thin {base.per_second:,.0f})", bar, least=True))
    if connections == 1:
        rows.append(row("latency added, p50", ours.p50_ms - base.p50_ms, "ms", 2.5))
        rows.append(row("latency added, p99", ours.p99_ms - base.p99_ms, "ms", 10))
    if connections == 64:
        cpu = row("CPU a request", ours.cpu_us, f"us (thin {base.cpu_us:.0f})", 600)
        rows.append(structs.replace(cpu, times_thin=ours.cpu_us / base.cpu_us))
        rows.append(Row("spread of the repeats", f"{ours.spread:.0%}", ""))
    if ours.failed:
        rows.append(Row("FAILED REQUESTS", str(ours.failed), "0", met=False))
    return rows


def row(
    figure: str, value: float, unit: str, bar: float | None = None, *, least: bool = False
) -> Row:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    met = None if bar is None else (value >= bar if least else value <= bar)
    sign = "≥" if least else "≤"
    return Row(figure, f"{shown} {unit}".strip(), "" if bar is None else f"{sign} {bar:,}", met)


def beside(figure: str, ours: float, base: float, unit: str) -> Row:
    return Row(figure, f"{ours:.1f} {unit} (thin {base:.1f})", "", times_thin=ours / base)


def against(recorded: Mapping[str, float], rows: Sequence[Row]) -> list[Row]:
    """Return how much more CPU each figure takes than was recorded, for those that were."""
    changes = {
        one.figure: one.times_thin / recorded[one.figure] - 1
        for one in rows
        if one.times_thin is not None and one.figure in recorded
    }
    return [
        Row(f"{figure}, against what was recorded", f"{more:+.0%}", f"≤ {MORE:+.0%}", more <= MORE)
        for figure, more in changes.items()
    ]


# --- the run ------------------------------------------------------------------------------------


def say(what: str) -> None:
    sys.stderr.write(f"  {what}\n")


@contextmanager
def process(folder: Path, name: str, *command: str, **variables: str) -> Iterator[Process]:
    started = Process([sys.executable, *command], folder / name, os.environ | variables)
    try:
        yield started
    finally:
        started.kill9()


async def _listening(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise TimeoutError(f"nothing listens on {port}")


def run(folder: Path, groups: Sequence[str]) -> list[Row]:
    """Start everything, each on its core, and take the figures."""
    output, template, home = (folder / name for name in ("output", "template", "home"))
    for made in (output, template, home):
        made.mkdir()
    upstream, thin_port = free_port(), free_port()
    with ExitStack() as stack:
        enter = stack.enter_context
        server, redis_url = enter(postgres(folder)), enter(redis_server())
        enter(on_core(LOAD_CORE))
        enter(process(output, "upstream", "-m", "tests.load.mock_upstream", str(upstream)))
        databases = PostgresDatabases(server, template, migrate_into(output))
        stack.callback(databases.close)
        gateway = enter(installed(databases, home, output, redis_url))
        gateway.environment["MOBIUS_LOG_LEVEL"] = "INFO"
        gateway.apply(configuration(upstream))
        with on_core(SERVER_CORE):
            start_s = _start(gateway)
            thin = enter(_thin(output, thin_port, upstream))
        asyncio.run(_listening(thin_port))
        assert gateway.process is not None
        bench = Bench(gateway.process.pid, gateway.port, thin.pid, thin_port)
        return compare(bench, start_s, groups)


def _start(gateway: GatewayProcess) -> float:
    started = time.perf_counter()
    gateway.serve()
    return time.perf_counter() - started


@contextmanager
def _thin(output: Path, port: int, upstream: int) -> Iterator[Process]:
    command = ["-m", "uvicorn", "tests.load.thin:application", "--no-access-log"]
    command += ["--port", str(port), "--log-level", "warning"]
    address = f"http://127.0.0.1:{upstream}"
    with process(output, "thin", *command, THIN_UPSTREAM=address) as started:
        yield started


def table(rows: list[Row]) -> str:
    lines = ["| figure | measured | first bar | |", "| --- | --- | --- | --- |"]
    marks = {True: "✓", False: "✗", None: ""}
    lines += [f"| {r.figure} | {r.value} | {r.bar} | {marks[r.met]} |" for r in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    recorded = json.loads(RECORDED.read_bytes())
    with tempfile.TemporaryDirectory(prefix="mobius-bench-") as folder:
        rows = run(Path(folder), options.only)
    if options.record:
        now = {r.figure: round(r.times_thin, 2) for r in rows if r.times_thin is not None}
        RECORDED.write_text(json.dumps(recorded | now, indent=1) + "\n")
    else:
        rows += against(recorded, rows)
    sys.stdout.write(table(rows) + "\n")
    if options.json:
        figures = [{"figure": r.figure, "value": r.value, "bar": r.bar, "met": r.met} for r in rows]
        options.json.write_text(json.dumps(figures, indent=1))
    return int(any(r.met is False for r in rows))


if __name__ == "__main__":
    sys.exit(main())

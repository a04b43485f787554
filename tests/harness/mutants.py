"""Serve with one guard taken out, to see that the test of a promise goes red without it.

    python -m tests.harness.mutants unguarded serve --workers 4

Workers are spawned and import this module anew, so that the guard is out in each of them.
"""

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import httptools
import psycopg
from django.core.management import execute_from_command_line
from django.db import OperationalError
from msgspec.structs import replace
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llm_gateway.adapters import upstream_errors
from llm_gateway.adapters.anthropic_messages import wire as anthropic_wire
from llm_gateway.adapters.openai_chat import wire as openai_wire
from llm_gateway.errors import DroppedError, NotFoundError
from llm_gateway.providers import egress, gate
from llm_gateway.providers.http_upstream import HttpUpstream
from llm_gateway.resilience import breaker, retry
from llm_gateway.response_cache import key_of
from llm_gateway.types import Call
from tenants.limits import Limits, local, pipe, shared
from tenants.limits.plan import Plan
from tenants.money import ledger, postgres, session, sqlite
from tenants.money.chain import Head, Linked
from tenants.money.claims import Claim, Claimed, Kept
from tenants.money.decide import Effects
from tenants.money.ledger import Ledger
from tenants.money.ops import BucketState, Settle
from tenants.money.postgres import PostgresStore
from tenants.money.spool import Spool
from tenants.money.sqlite import SqliteStore
from tenants.money.store import State
from tenants.money.types import Hold, Settled, Settlement
from tests.harness.sticking import become_blind, become_sticky

# --- budgets: the check of `decide`, and the guard of the database behind it


class UncheckedSqlite(SqliteStore):
    """`decide` is told that no budget is hard."""

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        return _soft(super().lock_buckets(ids, now))


class UncheckedPostgres(PostgresStore):
    fast = False

    @override
    def lock_buckets(self, ids: Collection[int], now: datetime) -> dict[int, BucketState]:
        return _soft(super().lock_buckets(ids, now))


class UnguardedSqlite(UncheckedSqlite):
    """Nor does the database hear which buckets have to have room."""

    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        effects.admitting.clear()
        return super().apply(effects, entries, writer_id, head)


class UnguardedPostgres(UncheckedPostgres):
    @override
    def apply(
        self, effects: Effects, entries: Sequence[Linked], writer_id: int, head: Head
    ) -> tuple[datetime, Sequence[State]]:
        effects.admitting.clear()
        return super().apply(effects, entries, writer_id, head)


def _soft(locked: Mapping[int, BucketState]) -> dict[int, BucketState]:
    return {key: replace(each, hard=False) for key, each in locked.items()}


# --- rates: the look at the limits, and what a refusal gives back


_LOOK = "if over > 0 then"
_SCRIPT = shared.script()


def _unlooking() -> str:
    return _SCRIPT.replace(_LOOK, "if false then")


async def _keeping(_limits: Limits, _ticket: object, *_used: int) -> None:
    """Give nothing back."""


def _whole(plan: Plan, _processes: int) -> Plan:
    """Let each process have all of a limit."""
    return plan


# --- counts of tokens: what is one


def _trusting(value: Any, default: int = 0) -> int:
    """Take whatever is a number for a count."""
    return default if value is None else int(value)


# --- the end of an answer waits for its entry


_UNFLUSHED = postgres._SESSION.replace("synchronous_commit=on", "synchronous_commit=off")


class WriteBehind(Ledger):
    """An attempt is settled some time after its caller heard that it is."""

    @override
    async def settle(self, hold: Hold, settlement: Settlement, kept: Kept | None = None) -> Settled:
        asyncio.get_running_loop().call_later(1, self._submit, Settle(hold, settlement, kept))
        return Settled()


class Dropping(Ledger):
    """Who is behind lets settles go, as if they were lines of a log."""

    @override
    async def settle(self, hold: Hold, settlement: Settlement, kept: Kept | None = None) -> Settled:
        if self.waiting:
            return Settled()
        return await super().settle(hold, settlement, kept)


def _forget(_spool: Spool, _settles: object) -> bool:
    """Say that settles are on disk, and keep none."""
    return True


async def _as_if_first(_ledger: Ledger, claim: Claim) -> Claimed:
    """Let every request have the key that it names."""
    return Claimed(request_id=claim.request_id, fingerprint=claim.fingerprint, state="running")


async def _as_if_kept(_ledger: Ledger, hold: Hold) -> Hold:
    """Take a hold that was swept to be there still."""
    return hold


def _never(*_: object) -> None:
    """Find nothing: no reason to open a circuit, no wait that is asked for."""


async def _forgive(held: Ledger, hold: Hold, _seen_output: int = 0) -> None:
    """Give back what may have been billed, as if nothing had been done for it."""
    await held.release(hold)


async def _at_once(_leaving: object) -> None:
    """Wait for nobody."""


_hoard: list[bytes] = []
_settle = Ledger.settle


async def _hoarding(
    held: Ledger, hold: Hold, settlement: Settlement, kept: Kept | None = None
) -> Settled:
    """Keep something of every request."""
    _hoard.append(os.urandom(64 * 1024))
    return await _settle(held, hold, settlement, kept)


# --- what can be reached only once Django is set up

SHORT_LOG = 100


def _shorten_log() -> None:
    """Keep so few records while their database is away: no guard less, only soon full."""
    django.setup()
    from llm_gateway.recorder import Recorder  # noqa: PLC0415 - needs Django

    Recorder.__init__.__kwdefaults__ = {"capacity": SHORT_LOG}


SHORT_LEASE_S = 6.0  # longer than a start takes


def _shorten_lease() -> None:
    """Take whoever is silent so long for dead: no guard less, only sooner."""
    django.setup()
    from tenants.money.from_settings import make_ledger  # noqa: PLC0415 - needs Django

    _, *others = make_ledger.__defaults__ or ()
    make_ledger.__defaults__ = (SHORT_LEASE_S, *others)


def _no(*_: object) -> bool:
    return False


def _deafen() -> None:
    """Never cut a provider, whoever has left."""
    django.setup()
    from llm_gateway.service.exchange import Exchange  # noqa: PLC0415 - needs Django

    setattr(Exchange, "_cuts", _no)  # noqa: B010 - as the others are


def _believe() -> None:
    """Take the end of the connection for the end of the answer."""
    django.setup()
    from llm_gateway.service.attempt import Attempt  # noqa: PLC0415 - needs Django

    checked, read = Attempt._last, HttpUpstream._next

    def last(attempt: Attempt) -> bytes:
        with suppress(DroppedError):
            return checked(attempt)
        return b""

    async def following(upstream: HttpUpstream) -> bytes:
        with suppress(DroppedError):
            return await read(upstream)
        return b""

    setattr(Attempt, "_last", last)  # noqa: B010 - as the others are
    setattr(HttpUpstream, "_next", following)  # noqa: B010


def _leave_at_once() -> None:
    """Wait for nobody on the way out."""
    django.setup()
    from llm_gateway.service.leaving import Leaving  # noqa: PLC0415 - needs Django

    for name in ("noticed", "emptied"):
        setattr(Leaving, name, _at_once)


async def _granted(*_: object) -> bool:
    """Say that a probe is ours."""
    return True


def _let_everyone_probe() -> None:
    """Let every process of a fleet have a probe of its own."""
    django.setup()
    from llm_gateway.service.fleet_circuits import FleetCircuits  # noqa: PLC0415 - needs Django

    setattr(FleetCircuits, "claim", _granted)  # noqa: B010 - as the others are


def _take_time() -> None:
    """Refuse nobody for being late: what is shown is not how busy the machine is."""
    django.setup()
    from llm_gateway.service import lag  # noqa: PLC0415 - needs Django

    setattr(lag, "FOR_S", math.inf)  # noqa: B010 - as the others are


STATEMENTS = "statements.jsonl"


def _overhear() -> None:
    """Write down the text of every statement, without its parameters, and how long it took."""
    place = Path(os.environ["MOBIUS_HOME"], STATEMENTS)
    for name in ("execute", "executemany"):
        setattr(psycopg.Cursor, name, _heard(getattr(psycopg.Cursor, name), place))


def _heard(execute: Any, place: Path) -> Any:
    def heard(cursor: Any, query: Any, *given: Any, **named: Any) -> Any:
        text = query if isinstance(query, str) else repr(query)
        began = time.monotonic()
        try:
            return execute(cursor, query, *given, **named)
        finally:
            told = {"text": text, "seconds": time.monotonic() - began}
            with place.open("a") as file:
                file.write(f"{json.dumps(told)}\n")

    return heard


def _find_by_text(_tenant_id: int, name: str) -> None:
    """Say a name in a statement."""
    from django.db import connection  # noqa: PLC0415 - needs Django

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 /* {name} */")  # the hole that is to be found
    raise NotFoundError("There is no such prompt.")


# Those that change what needs Django first.
def _sticky() -> None:
    django.setup()
    become_sticky()


def _blind() -> None:
    django.setup()
    become_blind()


LATE: Mapping[str, Callable[[], None]] = {
    "abrupt": _leave_at_once,
    "blind": _blind,
    "credulous": _believe,
    "deaf": _deafen,
    "everyone_probes": _let_everyone_probe,
    "short_lease": _shorten_lease,
    "short_log": _shorten_log,
    "unhurried": _take_time,
    "overheard": _overhear,
    "sticky": _sticky,
}

# --- what names an answer that is given again


def _in_one_cache(_reuse: object, call: Call, _plan: object) -> str:
    """Name an answer by the request alone, whoever asks."""
    return key_of(0, None, 0, [call.operation], call.body)


def _carelessly(reuse: Any, call: Call, _plan: object) -> str:
    """Name an answer by what was said, whatever else was asked."""
    caller = reuse._inbound.caller
    return key_of(caller.tenant_id, caller.project_id, 0, [], {"said": call.body["messages"]})


# --- what keeps hostile peers out; its modules need Django to be set up before they are imported


def _nothing(*_: object, **__: object) -> None:
    """Bound nothing, refuse nothing."""


def _as_it_came(scope: Any) -> dict[bytes, bytes]:
    """Take every head."""
    return dict(scope["headers"])


def _with_trailers(protocol: Any, name: bytes, value: bytes) -> None:
    """Take a trailer for a header."""
    HttpToolsProtocol.on_header(protocol, name, value)


async def _without_end(upstream: Any, _limit: int = 0) -> bytes:
    """Read a whole answer however long it is."""
    pieces = []
    while chunk := await upstream._next():
        pieces.append(chunk)
    return b"".join(pieces)


def _given_back(upstream: Any) -> None:
    """Give a connection back with the rest of an answer still to come."""
    if upstream._talk is not None:
        upstream._talk.complete = True
    upstream._done()


def _believed(talk: Any, nbytes: int) -> None:
    """Take whatever comes for what was asked last."""
    with suppress(httptools.HttpParserError):
        talk._parser.feed_data(talk._buffer[:nbytes])
    if talk._headed:
        talk._wake()


def _allowed(*_: object, **__: object) -> bool:
    return True


def _of_everybody(manager: Any, _tenant: object) -> Any:
    """Return rows, whosever they are."""
    return manager.model.all_tenants_unsafe.all()


def _away(*_: object, **__: object) -> None:
    """Be as a store that does not answer."""
    raise OperationalError("away")


def _unmarked(_request: object, response: object) -> object:
    """Say nothing to the browser."""
    return response


async def _watch_nothing(_holder: object) -> None:
    """Never hear of a change."""


_EDGE, _WAY_OUT = "llm_gateway.edge", "llm_gateway.providers"


def _go_on(protocol: Any) -> None:
    """Write on, whether or not anybody takes it."""
    del protocol


AFTER_DJANGO: Mapping[str, Sequence[tuple[str, str, object]]] = {
    "one_cache": [("llm_gateway.service.reuse", "Reuse._name", _in_one_cache)],
    "careless": [("llm_gateway.service.reuse", "Reuse._name", _carelessly)],
    "interpolating": [("llm_gateway.service.prompt_book", "find", _find_by_text)],
    "unscoped": [("tenants.models", "TenantManager.of", _of_everybody)],
    "unasked": [
        ("llm_gateway.access", "may", _allowed),
        *(("llm_gateway.api.access", name, _allowed) for name in ("may", "seated")),
        ("llm_gateway.consumers", "may", _allowed),
        ("llm_gateway.landing.views", "seated", _allowed),
    ],
    "unranked": [("tenants.admin.base", "ConsoleAdmin._may", _allowed)],
    "unprotected": [("llm_gateway.configuration.managed", "Members.check", _nothing)],
    "storeless": [
        ("tenants.auth", "load_caller", _away),
        ("llm_gateway.service.credentials", "seat_of_session", _away),
        ("tenants.signin.sessions", "check", _away),
    ],
    "trustful": [
        ("llm_gateway.api.access", "_check_meant", _nothing),
        ("mobius.headers", "_marked", _unmarked),
    ],
    "unheard": [("llm_gateway.snapshot", "SnapshotHolder.watch", _watch_nothing)],
    "unpaused": [("llm_gateway.edge.protocols", "HttpProtocol.pause_writing", _go_on)],
    "defenceless": [
        (f"{_EDGE}.http", "Held.take", _nothing),
        *((f"{_EDGE}.{door}", "judged_head", _as_it_came) for door in ("app", "sockets")),
        (f"{_EDGE}.protocols", "HttpProtocol.on_header", _with_trailers),
        (f"{_EDGE}.protocols", "WebSocketProtocol._violated", _nothing),
        (f"{_EDGE}.protocols", "HEAD_S", 0.5),
        (f"{_WAY_OUT}.http_upstream", "HttpUpstream.read", _without_end),
        (f"{_WAY_OUT}.http_upstream", "HttpUpstream.abort", _given_back),
        (f"{_WAY_OUT}.conversation", "Conversation.buffer_updated", _believed),
        (f"{_WAY_OUT}.conversation", "Conversation.should_close", False),
        (f"{_WAY_OUT}.addresses", "is_allowed", _allowed),
        (f"{_WAY_OUT}.addresses", "_check_public", _nothing),
    ],
}

# --- which part each mutant puts in whose place

MUTANTS: Mapping[str, Sequence[tuple[object, str, object]]] = {
    "unchecked": [
        (postgres, "PostgresStore", UncheckedPostgres),
        (sqlite, "SqliteStore", UncheckedSqlite),
    ],
    "unguarded": [
        (postgres, "PostgresStore", UnguardedPostgres),
        (sqlite, "SqliteStore", UnguardedSqlite),
    ],
    "forgiving": [(Ledger, "mark_uncertain", _forgive)],
    "hoarding": [(Ledger, "settle", _hoarding)],
    "unbroken": [(breaker, "_why_open", _never)],
    "sweeping": [(session, "SWEPT_AT_ONCE", sys.maxsize)],  # no guard less, only all at once
    "unclaimed": [(Ledger, "claim", _as_if_first)],
    "never_again": [(Ledger, "hold_again", _as_if_kept)],
    "inattentive": [(upstream_errors, "retry_after_s", _never)],
    "stubborn": [(retry, "AMBIGUOUS_FAILOVERS", sys.maxsize)],
    "write_behind": [(ledger, "Ledger", WriteBehind)],
    "dropping": [(ledger, "Ledger", Dropping)],
    "boundless": [(ledger, "MOST_WAITING", sys.maxsize), (ledger, "ADMIT_S", 3600.0)],
    "patient": [
        (gate, "_BURST", 1e6),
        (gate, "_STANDING_S", 3600.0),
        (egress, "_PROVIDER_WAIT_S", 3600.0),
    ],
    "amnesic": [(Spool, "write", _forget)],
    "unflushed": [(postgres, "_SESSION", _UNFLUSHED)],
    "trusting": [(openai_wire, "count", _trusting), (anthropic_wire, "count", _trusting)],
    "waiting": [(pipe, "CALL_S", 30.0)],
    "leaking": [(Limits, "settle", _keeping)],
    "unshared": [(local, "share_of", _whole)],
    "unlimited": [(shared, "script", _unlooking), (Limits, "refund", _keeping)],
}


def become(mutant: str) -> None:
    """Take out one guard, or several named `one+other`."""
    for each in mutant.split("+"):
        if each in LATE:
            LATE[each]()
        elif each in AFTER_DJANGO:
            _become_after_django(each)
        else:
            for module, name, part in MUTANTS[each]:
                setattr(module, name, part)


def _become_after_django(mutant: str) -> None:
    django.setup()
    for module_name, path, part in AFTER_DJANGO[mutant]:
        owner, _, name = path.rpartition(".")
        of: Any = import_module(module_name)
        setattr(getattr(of, owner) if owner else of, name, part)


if __name__ in {"__main__", "__mp_main__"}:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")
    become(sys.argv[1])

if __name__ == "__main__":
    execute_from_command_line([sys.argv[0], *sys.argv[2:]])

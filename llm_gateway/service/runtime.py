"""Hold what one process works with: made once at start, closed once at stop."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import Error

from llm_gateway import metrics
from llm_gateway.adapters import mock
from llm_gateway.pricing import price_for
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.providers.mock_transport import MockTransport
from llm_gateway.recorder import Recorder, log_alarms, log_line
from llm_gateway.resilience.retry import RetryBudget
from llm_gateway.response_cache import make_response_cache
from llm_gateway.service.batches import watch
from llm_gateway.service.board import Board
from llm_gateway.service.circuit_log import CircuitLog
from llm_gateway.service.circuit_orders import RESET_HOLDS_S, order_of
from llm_gateway.service.flights import Flights
from llm_gateway.service.keeper import Keeper
from llm_gateway.service.keyring import Keyring
from llm_gateway.service.lag import Lag
from llm_gateway.service.periodic import PERIODIC
from llm_gateway.service.scales import Scales
from llm_gateway.snapshot import SnapshotHolder
from llm_gateway.types import Deployment, Price, ProviderConfig
from llm_gateway.version import VERSION
from tenants.auth import Authenticator
from tenants.keys import installation, pepper
from tenants.limits import make_limits
from tenants.money.fleet import count_live_writers, started_together
from tenants.money.from_settings import make_ledger
from tenants.money.ledger import Ledger
from tenants.reader import Reader
from tenants.ticker import Ticker

if TYPE_CHECKING:
    from llm_gateway.service.fleet_circuits import FleetCircuits

LOOK_EVERY_S = 5.0
DAY_S = 86_400

log = logging.getLogger(__name__)


class Runtime:
    """Everything of a process that outlives a request."""

    def __init__(self, open_ledger: Callable[[], Ledger] = make_ledger) -> None:
        self._open_ledger = open_ledger
        self.clock = time.monotonic
        self.wall_clock = time.time  # noqa: TID251 - handed on as the argument it has to be
        self.rng = Random(os.urandom(32))  # noqa: S311 - jitter and weights, no secrets
        self.reader = Reader()
        self.circuit_log = CircuitLog(self.reader, self.wall_clock)
        self.board = Board(self.clock, self.rng, self.circuit_log.tell)
        self.snapshot = SnapshotHolder(self.reader, [self._configuration_changed])
        self.keyring = Keyring(self.snapshot, self.clock)
        self.authenticator = Authenticator(self.reader, self.clock, self.wall_clock)
        self.retry_budget = RetryBudget()
        self.scales = Scales()
        self.ticker = Ticker(PERIODIC)
        self.draining = False  # on the way out, still serving
        self.closing = False  # nothing new begins
        self.in_flight = 0
        self.reading_on = 0  # answers whose caller has left
        self.lag = Lag()
        self._endpoints: dict[tuple[int, str], Endpoint] = {}
        self._prices: dict[tuple[int, int], tuple[Deployment, Price | None]] = {}
        self._priced_on = 0  # the day of those, since 1970 in UTC
        self._turns: dict[str, int] = {}
        self._live_processes = started_together()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open everything; raises what a wrong installation raises."""
        await self.look()
        played = MockTransport(mock.reply, mock.MockOptions, rng=self.rng, clock=self.wall_clock)
        self.egress = Egress(version=VERSION, mock=played)
        self.ledger = self._open_ledger()
        self.ledger.start()
        url = settings.CACHE_REDIS_URL
        quiet = url == settings.REDIS_URL  # of that one the limits tell
        self.response_cache = make_response_cache(url, installation(), self.wall_clock, quiet=quiet)
        await self.response_cache.start()
        self.flights = Flights()
        self.keeper = Keeper()
        self._fleet = await self._join_fleet()
        self._obey_orders()  # those that the fleet has obeyed are known by now
        self.recorder = Recorder(sinks=[metrics.observe, log_line, log_alarms])
        self._tasks = [
            asyncio.create_task(self.snapshot.watch(), name="configuration watch"),
            asyncio.create_task(self._look_around(), name="metrics and fleet"),
            asyncio.create_task(self.lag.watch(), name="lag"),
            asyncio.create_task(self.circuit_log.write_for_ever(), name="circuit log"),
            asyncio.create_task(watch(self), name="batches"),
        ]
        if settings.BACKGROUND_IN_PROCESS:
            self.ticker.start()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do something beside requests until the end."""
        self._tasks.append(asyncio.create_task(work, name=name))

    async def look(self) -> None:
        """Open what is needed to say how things stand, and nothing that spends or serves."""
        await self.reader.read(pepper)
        await self.snapshot.load()
        self.limits = make_limits(settings.REDIS_URL, installation(), lambda: self._live_processes)
        await self.limits.start()

    async def look_away(self) -> None:
        """Close what `look` opened, where nothing else was."""
        await self.limits.close()
        self.reader.close()

    async def close(self) -> None:
        """Close in the order that loses nothing: records after the ledger they speak of."""
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.ticker.stop)
        await self.ledger.close()
        await self.recorder.close()
        if self._fleet is not None:
            await self._fleet.close()
        await self.circuit_log.write()
        await self.limits.close()
        await self.response_cache.close()
        await self.keeper.close()
        await self.egress.close()
        self.reader.close()

    def endpoint(self, provider: ProviderConfig, adapter: str) -> Endpoint:
        """Return where a provider is called. Raises AddressError where it must not be."""
        place = (provider.id, adapter)
        known = self._endpoints.get(place)
        if known is None:
            kind = CATALOG[provider.kind]
            known = self._endpoints[place] = Endpoint(
                provider_id=provider.id,
                base_url=provider.base_url,
                protocol=adapter,
                auth="none" if kind.key_optional and not provider.keys else kind.auth,
                allow_private_network=provider.allow_private_network,
                max_concurrent_requests=provider.max_concurrent_requests,
                kept_alive=provider.max_concurrent_requests,
                default_headers=kind.quirks.default_headers,
                options=provider.options,
            )
        return known

    def price_now(self, deployment: Deployment, tenant_id: int) -> Price | None:
        """Return what the tenant pays today (UTC)."""
        day = int(self.wall_clock() // DAY_S)
        if day != self._priced_on:
            self._prices.clear()
            self._priced_on = day
        place = (deployment.id, tenant_id)
        known = self._prices.get(place)
        # A request that began before a change still holds the deployment as it was then.
        if known is None or known[0] is not deployment:
            terms = self.snapshot.current.configuration.terms.get(tenant_id)
            today = datetime.fromtimestamp(day * DAY_S, UTC).date()
            known = self._prices[place] = (deployment, price_for(deployment, terms, today))
        return known[1]

    def turn(self, name: str) -> int:
        """Count the plans made for a name, for round robin."""
        self._turns[name] = turn = self._turns.get(name, -1) + 1
        return turn

    async def _look_around(self) -> None:
        """Tell of ourselves and count the fleet, every few seconds."""
        while True:
            metrics.sample(
                metrics.Sample(
                    in_flight=self.in_flight,
                    loop_lag_s=self.lag.taken(),
                    tasks=len(asyncio.all_tasks()),
                    ledger_queue=self.ledger.waiting,
                    limits_away=self.limits.book.state == "away",
                    limits_lost=self.limits.book.lost,
                    recorder_waiting=self.recorder.waiting,
                    recorder_dropped=self.recorder.dropped,
                    contents_left_out=self.recorder.left_out,
                    cache_entries=len(self.response_cache.memory),
                    cache_bytes=self.response_cache.memory.bytes,
                    cache_did=self.response_cache.did,
                )
            )
            with suppress(Error):
                live = await self.reader.read(count_live_writers)
                self._live_processes = max(started_together(), live)
            await asyncio.sleep(LOOK_EVERY_S)

    def _configuration_changed(self) -> None:
        self.authenticator.forget()
        self.keyring.forget()
        # What rests because of a bad key or name may just have been mended.
        self.board.rests.clear()
        self._endpoints.clear()
        self._prices.clear()
        self._obey_orders()

    def _obey_orders(self) -> None:
        current, now = self.snapshot.current, self.wall_clock()
        orders = {
            place: order_of(given, self.clock() - now)
            for place, given in current.orders.items()
            if given.until is not None or given.at > now - RESET_HOLDS_S
        }
        self.board.obey(current.deployments, orders)

    async def _join_fleet(self) -> "FleetCircuits | None":
        """Share circuits and rests with the other processes, where there is a Redis."""
        if not settings.REDIS_URL:
            return None
        from llm_gateway.service.fleet_circuits import FleetCircuits  # noqa: PLC0415 - an extra

        fleet = FleetCircuits(
            settings.REDIS_URL,
            installation(),
            self.board,
            self.clock,
            self.snapshot,
            self.circuit_log.tell,
        )
        self.board.fleet = fleet
        await fleet.start()
        return fleet

"""Hold what one process works with: made once at start, closed once at stop."""

import asyncio
import logging
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

from django.conf import settings
from django.db import Error

from llm_gateway import metrics
from llm_gateway.adapters import mock
from llm_gateway.pricing import price_for
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.providers.mock_transport import MockTransport
from llm_gateway.recorder import Recorder, log_line
from llm_gateway.resilience.retry import RetryBudget
from llm_gateway.service.board import Board
from llm_gateway.service.keyring import Keyring
from llm_gateway.service.periodic import PERIODIC
from llm_gateway.snapshot import SnapshotHolder
from llm_gateway.types import Deployment, Price, ProviderConfig
from llm_gateway.version import VERSION
from tenants.auth import Authenticator
from tenants.keys import pepper
from tenants.limits import make_limits
from tenants.money.fleet import count_live_writers
from tenants.money.from_settings import make_ledger
from tenants.reader import Reader
from tenants.ticker import Ticker

LOOK_EVERY_S = 5.0

log = logging.getLogger(__name__)


class Runtime:
    """Everything of a process that outlives a request."""

    def __init__(self) -> None:
        self.clock = time.monotonic
        self.wall_clock = time.time  # noqa: TID251 - handed on as the argument it has to be
        self.rng = Random(os.urandom(32))  # noqa: S311 - jitter and weights, no secrets
        self.reader = Reader()
        self.board = Board(self.clock, self.rng)
        self.snapshot = SnapshotHolder(self.reader, [self._configuration_changed])
        self.keyring = Keyring(self.snapshot, self.clock)
        self.authenticator = Authenticator(self.reader, self.clock, self.wall_clock)
        self.retry_budget = RetryBudget()
        self.ticker = Ticker(PERIODIC)
        self.draining = False
        self.in_flight = 0
        self._endpoints: dict[tuple[int, str], Endpoint] = {}
        self._turns: dict[str, int] = {}
        self._live_processes = 1
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open everything; raises what a wrong installation raises."""
        await self.reader.read(pepper)
        await self.snapshot.load()
        played = MockTransport(mock.reply, mock.MockOptions, rng=self.rng, clock=self.wall_clock)
        self.egress = Egress(version=VERSION, mock=played)
        self.ledger = make_ledger()
        self.ledger.start()
        self.limits = make_limits(settings.REDIS_URL, lambda: self._live_processes)
        self.recorder = Recorder(sinks=[metrics.observe, log_line])
        self._tasks = [
            asyncio.create_task(self.snapshot.watch(), name="configuration watch"),
            asyncio.create_task(self._look_around(), name="metrics and fleet"),
        ]
        if settings.BACKGROUND_IN_PROCESS:
            self.ticker.start()

    async def close(self) -> None:
        """Close in the order that loses nothing: records after the ledger they speak of."""
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self.ticker.stop)
        await self.ledger.close()
        await self.recorder.close()
        await self.limits.close()
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
                default_headers=kind.quirks.default_headers,
                options=provider.options,
            )
        return known

    def price_now(self, deployment: Deployment, tenant_id: int) -> Price | None:
        """Return what the tenant pays today (UTC)."""
        terms = self.snapshot.current.configuration.terms.get(tenant_id)
        today = datetime.fromtimestamp(self.wall_clock(), UTC).date()
        return price_for(deployment, terms, today)

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
                    ledger_queue=self.ledger.waiting,
                    limits_away=self.limits.book.state == "away",
                    limits_lost=self.limits.book.lost,
                    recorder_waiting=self.recorder.waiting,
                    recorder_dropped=self.recorder.dropped,
                )
            )
            with suppress(Error):
                self._live_processes = max(1, await self.reader.read(count_live_writers))
            await asyncio.sleep(LOOK_EVERY_S)

    def _configuration_changed(self) -> None:
        self.authenticator.forget()
        self.keyring.forget()
        # What rests because of a bad key or name may just have been mended.
        self.board.rests.clear()
        self._endpoints.clear()

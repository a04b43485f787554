"""Redis killed, emptied, frozen, old or absent in the middle of a rush (`scorecard.md` M12).

Money does not notice, rates are at most doubled for one window, and Redis is found again alone.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, key, tenant
from tests.harness.database import PostgresDatabases
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.redis_process import RedisProcess, own_redis
from tests.harness.together import Ask, asking, in_time, until
from tests.integration.tight import Rush, Rushed, apply, check_rush, overspent_nano, rush_in
from tests.upstream.client import Upstream

PROCESSES = 4
RATE, WANTED = 40, 100  # a minute of each key, and how many are sent at once to use it up
FROZEN_S = 5.0
RECOVERY_S = 2.0
# More than a rush needs: Redis is asked, and never what refuses.
ROOM = {"requests_per_minute": 100_000, "concurrency": 10_000}
AWAY, BACK = "limits: Redis is away", "limits: Redis is back"

pytestmark = pytest.mark.promise("M12")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to Redis in the middle of a rush, and how it ends."""

    name: str
    strike: Callable[[RedisProcess], object]
    mend: Callable[[RedisProcess], object]
    owner: str  # of the tight budget

    @property
    def rush(self) -> Rush:
        return Rush(f"redis-{self.name}", self.owner)

    @property
    def key(self) -> str:
        return f"{API_KEY}-rate-{self.name}"


def _restart(server: RedisProcess) -> None:
    server.kill9()
    server.start()


def _thaw_late(server: RedisProcess) -> None:
    time.sleep(FROZEN_S)  # the length of the fault, not a wait for something
    server.thaw()


def _nothing(_server: RedisProcess) -> None:
    """Leave it as it is."""


KILLED = Fault("killed", RedisProcess.kill9, RedisProcess.start, "key")
OLD = Fault("old", _restart, _nothing, "project")
EMPTIED = Fault("emptied", RedisProcess.empty, _nothing, "tag")
FROZEN = Fault("frozen", RedisProcess.freeze, _thaw_late, "end_user")
ABSENT = Fault("absent", _nothing, RedisProcess.start, "tenant")


def configured(gateway: GatewayProcess, upstream: Upstream, *faults: Fault) -> None:
    rushing = [fault.rush.tenant(rate_limits=ROOM) for fault in faults]
    limited = [
        key(fault.name, fault.key, rate_limits={"requests_per_minute": RATE}) for fault in faults
    ]
    apply(gateway, upstream, [*rushing, tenant("rated", keys=limited)])


@dataclass(frozen=True, slots=True)
class Fleet:
    gateway: GatewayProcess
    books: Books
    redis: RedisProcess

    def serve(self, mutant: str = "") -> None:
        self.gateway.serve(workers=PROCESSES, mutant=mutant)
        self.books.until_serving()

    def admitted(self, fault: Fault) -> int:
        """Return how many of a hundred at once the rate lets pass."""
        asks = [Ask(OPENAI, "alpha", key=fault.key)] * WANTED
        with asking(self.gateway.url, asks) as told:
            heard = [each.result() for each in told]
        assert {each.status for each in heard} <= {200, 429}
        return sum(each.status == 200 for each in heard)

    def turns(self) -> tuple[int, int]:
        """Return how often processes have lost Redis and found it again."""
        log = self.gateway.log
        return log.count(AWAY), log.count(BACK)

    def found_again(self) -> bool:
        aways, backs = self.turns()
        return aways == backs


@pytest.fixture(scope="module")
def fleet(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("home")
    with (
        own_redis(tmp_path_factory.mktemp("redis")) as server,
        installed(postgres_databases, home, output, server.url) as gateway,
    ):
        configured(gateway, upstream_process, KILLED, OLD, EMPTIED, FROZEN, ABSENT)
        fleet = Fleet(gateway, Books(gateway), server)
        fleet.serve()
        yield fleet


@dataclass(frozen=True, slots=True)
class Outcome:
    rushed: Rushed
    admitted: int
    recovered_s: float


def lose(fleet: Fleet, upstream: Upstream, fault: Fault, *, held: bool = True) -> Outcome:
    """Use a rate up before the fault, under it and after it; rush in the middle."""
    admitted = fleet.admitted(fault)
    rushed = rush_in(
        fleet.gateway,
        upstream,
        fault.rush,
        held=held,
        meanwhile=lambda: fault.strike(fleet.redis),
    )
    admitted += fleet.admitted(fault)
    fault.mend(fleet.redis)
    recovered_s = until(fleet.found_again, 10)
    admitted += fleet.admitted(fault)
    return Outcome(rushed, admitted, recovered_s)


def check(fleet: Fleet, fault: Fault, outcome: Outcome) -> None:
    check_rush(fleet.books, fault.rush, outcome.rushed)
    assert RATE <= outcome.admitted <= 2 * RATE
    in_time(outcome.recovered_s, RECOVERY_S)


@pytest.mark.parametrize("fault", [KILLED, EMPTIED, FROZEN], ids=lambda fault: fault.name)
def test_a_loss_in_a_rush_costs_no_money(fleet: Fleet, upstream: Upstream, fault: Fault) -> None:
    fleet.redis.forget()
    check(fleet, fault, lose(fleet, upstream, fault))


def test_a_restart_from_an_old_file_costs_no_money(fleet: Fleet, upstream: Upstream) -> None:
    fleet.redis.forget()
    fleet.redis.save()
    check(fleet, OLD, lose(fleet, upstream, OLD))
    fleet.redis.forget()


def test_a_fleet_that_starts_without_redis_spends_no_more(fleet: Fleet, upstream: Upstream) -> None:
    # As a deploy does: of those that are killed each would have its share until their leases end.
    fleet.gateway.terminate()
    fleet.redis.kill9()
    fleet.serve()
    check(fleet, ABSENT, lose(fleet, upstream, ABSENT))
    aways, backs = fleet.turns()
    # A starved process may think so once more, but says that it was wrong.
    assert aways == backs >= PROCESSES


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_it_goes_red_without_guard_and_shares(
    gateway: GatewayProcess, upstream: Upstream, tmp_path: Path
) -> None:
    with own_redis(tmp_path) as server:
        gateway.environment["REDIS_URL"] = server.url
        configured(gateway, upstream, KILLED)
        fleet = Fleet(gateway, Books(gateway), server)
        fleet.serve(mutant="unguarded+unshared")
        outcome = lose(fleet, upstream, KILLED, held=False)
    with pytest.raises(AssertionError):
        check(fleet, KILLED, outcome)
    assert overspent_nano(fleet.books, KILLED.rush) > 0
    assert outcome.admitted > 2 * RATE

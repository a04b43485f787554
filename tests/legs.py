"""A pytest plugin: say which legs of the suite ran, which promises were kept, by which figures.

Workers of xdist tell through their output and through properties of their reports; whatever was
skipped fails the run when `CI=true`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest

LEGS = {  # the fixture that starts each
    "postgres_url": "PostgreSQL",
    "redis_url": "Redis",
    "replay_upstream": "Recordings",
    "published_schemas": "Schemas",
    "browser": "Browser",
    "client_packages": "Clients",
    "node_packages": "Node",
}
RAN = "ran"
_PROMISE, _FIGURE, _LEGS = "promise", "figure", "legs"
_ABSENT = re.compile(r"(?P<leg>\w+) leg(?: cannot start)?: (?P<reason>.+?)['\")\]]*$")

Number = int | float
# Of one row: what was measured and what is wanted, with all that was reached.
Figures = dict[tuple[str, str], list[Number]]
Figure = Callable[[str, Number, str], None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Return what notes a number for the scorecard, under each promise of the test.

    `figure("over-spend, n$", 0, "0")`: its name and unit, what was reached, what is wanted.
    """

    def note(name: str, reached: Number, wanted: str) -> None:
        rows = [marker.args[0] for marker in request.node.iter_markers(_PROMISE)]
        assert rows, "a figure belongs to a test of a promise"
        request.node.user_properties.extend((_FIGURE, (row, name, reached, wanted)) for row in rows)

    return note


class Legs:
    """What one process of the run knows; the controller's tells it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._legs: dict[str, str] = {}
        self._promises: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        self._figures: defaultdict[str, Figures] = defaultdict(dict)
        self._skipped = 0

    # --- in the process that runs a test

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        value = yield
        if leg := LEGS.get(fixturedef.argname):
            self._legs[leg] = RAN
        return value

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        for marker in item.iter_markers(_PROMISE):
            item.user_properties.append((_PROMISE, marker.args[0]))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        told = getattr(self._config, "workeroutput", None)
        if told is not None:
            told[_LEGS] = [leg for leg, state in self._legs.items() if state == RAN]
        elif self._skipped and os.environ.get("CI") == "true":
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # --- in the process that sums up

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for leg in getattr(node, "workeroutput", {}).get(_LEGS, []):
            self._legs[leg] = RAN

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._skipped += report.skipped and not hasattr(report, "wasxfail")
        if report.outcome != "passed":
            self._note_absent(report)
        for name, told in report.user_properties:
            if name == _PROMISE:
                before = self._promises[str(told)].get(report.nodeid, True)
                self._promises[str(told)][report.nodeid] = before and report.passed
            elif name == _FIGURE and report.when == "teardown":  # each report holds them again
                self._note_figure(told)

    def _note_figure(self, told: Any) -> None:
        row, what, reached, wanted = told
        self._figures[row].setdefault((what, wanted), []).append(reached)

    def _note_absent(self, report: pytest.TestReport) -> None:
        for line in report.longreprtext.splitlines():
            if found := _ABSENT.search(line):
                self._legs.setdefault(found["leg"], f"absent: {found['reason']}")

    def _seed(self) -> str:
        """Return what repeats order and random numbers: `--randomly-seed=N`."""
        seed = self._config.getoption("randomly_seed", None)
        return "" if seed is None else f", seed {seed}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._config.getoption("scorecard"):
            terminalreporter.section("promises")
            for promise, tests in sorted(self._promises.items(), key=_in_order):
                passed = sum(tests.values())
                line = f"{promise:4} {passed} of {len(tests)} tests passed{self._seed()}"
                terminalreporter.write_line(line, green=passed == len(tests))
                for line in _lines(self._figures[promise]):
                    terminalreporter.write_line(f"     {line}")
        terminalreporter.section("legs")
        for leg in LEGS.values():
            terminalreporter.write_line(f"{leg:11} {self._legs.get(leg, 'not asked for')}")
        if self._skipped and os.environ.get("CI") == "true":
            terminalreporter.write_line(
                f"CI=true: {self._skipped} skipped tests fail the run", red=True
            )


def _lines(figures: Mapping[tuple[str, str], list[Number]]) -> Iterator[str]:
    """Yield a line for each figure; what was measured several times is told from least to most."""
    for (name, wanted), reached in sorted(figures.items()):
        ends = dict.fromkeys(f"{round(end, 4):,}" for end in (min(reached), max(reached)))
        yield f"{name:44} {' … '.join(ends):>16}   wanted {wanted}"


def _in_order(row: tuple[str, object]) -> tuple[str, int]:
    """Sort M2 before M10."""
    return row[0][:1], int(row[0][1:] or 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scorecard", action="store_true", help="print each promise's tests")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Legs(config), "mobius legs")

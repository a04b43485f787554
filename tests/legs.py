"""A pytest plugin: say which legs of the suite ran, and which promises were kept.

Workers of xdist tell through their output and through properties of their reports; whatever was
skipped fails the run when `CI=true`.
"""

import os
import re
from collections import defaultdict
from collections.abc import Generator
from typing import Any

import pytest

LEGS = {  # the fixture that starts each
    "postgres_url": "PostgreSQL",
    "redis_url": "Redis",
    "replay_upstream": "Recordings",
    "browser": "Browser",
}
RAN = "ran"
_PROMISE, _LEGS = "promise", "legs"
_ABSENT = re.compile(r"(?P<leg>\w+) leg(?: cannot start)?: (?P<reason>.+?)['\")\]]*$")


class Legs:
    """What one process of the run knows; the controller's tells it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._legs: dict[str, str] = {}
        self._promises: defaultdict[str, dict[str, bool]] = defaultdict(dict)
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
        for name, promise in report.user_properties:
            if name == _PROMISE:
                before = self._promises[str(promise)].get(report.nodeid, True)
                self._promises[str(promise)][report.nodeid] = before and report.passed

    def _note_absent(self, report: pytest.TestReport) -> None:
        for line in report.longreprtext.splitlines():
            if found := _ABSENT.search(line):
                self._legs.setdefault(found["leg"], f"absent: {found['reason']}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._config.getoption("scorecard"):
            terminalreporter.section("promises")
            for promise, tests in sorted(self._promises.items(), key=_in_order):
                passed = sum(tests.values())
                line = f"{promise:4} {passed} of {len(tests)} tests passed"
                terminalreporter.write_line(line, green=passed == len(tests))
        terminalreporter.section("legs")
        for leg in LEGS.values():
            terminalreporter.write_line(f"{leg:11} {self._legs.get(leg, 'not asked for')}")
        if self._skipped and os.environ.get("CI") == "true":
            terminalreporter.write_line(
                f"CI=true: {self._skipped} skipped tests fail the run", red=True
            )


def _in_order(row: tuple[str, object]) -> tuple[str, int]:
    """Sort M2 before M10."""
    return row[0][:1], int(row[0][1:] or 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scorecard", action="store_true", help="print each promise's tests")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Legs(config), "mobius legs")

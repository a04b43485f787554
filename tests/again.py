"""A pytest plugin: what was late beside the other worker is tried again, alone.

On two busy cores a test may fail for want of a processor, which says nothing of the product: a test
marked `timed`, and whatever waited for too long. Such a failure is printed and decides nothing;
what the test says when it has the machine to itself does. Anything else, wrong money before all,
fails the run at once.
"""

from collections.abc import Generator

import pytest

MARK = "timed"
MOST = 30  # more is no accident of a moment
_LATE = {"LateError", "TimeoutError", "TimeoutExpired", "ReadTimeout", "ConnectTimeout"}
_OUTCOME = "beside"


class Again:
    """Takes note of them in the process that sums up; `nodes` are to be tried again."""

    def __init__(self) -> None:
        self._failed: dict[str, pytest.TestReport] = {}
        self._crowded = False

    @property
    def nodes(self) -> list[str]:
        return list(self._failed)

    def pytest_configure(self, config: pytest.Config) -> None:
        self._crowded = bool(config.getoption("numprocesses", 0))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        more = report.nodeid in self._failed or len(self._failed) < MOST
        if self._crowded and report.failed and more and _late(report):
            self._failed.setdefault(report.nodeid, report)
            report.outcome = _OUTCOME  # type: ignore[assignment]  # a word of our own
        return (yield)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.outcome == _OUTCOME:
            return _OUTCOME, "A", "AGAIN"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._failed:
            terminalreporter.section("failed beside the other worker; tried again alone")
        for node, report in self._failed.items():
            terminalreporter.write_line(f"{node} ({report.when})", yellow=True)
            terminalreporter.write_line(report.longreprtext)


def _late(report: pytest.TestReport) -> bool:
    crash = getattr(report.longrepr, "reprcrash", None)
    error = crash.message.partition(":")[0].rpartition(".")[2] if crash else ""
    return MARK in report.keywords or error in _LATE

"""Start processes that use the ledger, and have several begin at the same moment."""

import subprocess
import sys
from contextlib import ExitStack

from tests.harness.processes import PROJECT


def worker(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", "tests.unit.money.worker", *arguments],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(processes: int, *arguments: str) -> list[int]:
    """Start as many, let them go once all are ready, and return the number each says."""
    with ExitStack() as stack:
        crew = [stack.enter_context(worker(*arguments)) for _ in range(processes)]
        for each in crew:
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in crew:
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        return [int(each.communicate(timeout=30)[0]) for each in crew]

"""Give every test the processes it may talk to; each is started once and reset for each test."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upstream.client import Upstream


@pytest.fixture(scope="session")
def output() -> Path:
    """Return the folder that takes what every process of this session writes.

    Set MOBIUS_TEST_OUTPUT to choose it: the canary test searches all of it.
    """
    named = os.environ.get("MOBIUS_TEST_OUTPUT")
    if named is None:
        return Path(tempfile.mkdtemp(prefix="mobius-test-output-"))
    Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named)


@pytest.fixture(scope="session")
def upstream_process(output: Path) -> Iterator[Upstream]:
    upstream = Upstream.start(output)
    yield upstream
    upstream.stop()


@pytest.fixture
def upstream(upstream_process: Upstream) -> Upstream:
    """Return the scripted upstream, with nothing told, seen or billed yet."""
    upstream_process.reset()
    return upstream_process

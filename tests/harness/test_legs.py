"""The run says which legs ran, why one is absent, and what a promise's tests came to."""

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.processes import PROJECT

SUITE = """
import pytest
from tests.harness.services import absent

@pytest.fixture
def redis_url():
    return "redis://"

@pytest.fixture
def postgres_url():
    absent("PostgreSQL", "no server found")

@pytest.mark.promise("M10")
def test_with_redis(redis_url): ...

@pytest.mark.promise("M2")
def test_with_postgres(postgres_url): ...

@pytest.mark.promise("M2")
def test_without(): ...

@pytest.mark.promise("M3")
@pytest.mark.parametrize("nano", [0, 2])
def test_with_figures(nano, figure):
    figure("difference, n$", nano, "0")
    figure("calls", 1000, "1,000")
"""


def run(folder: Path, *arguments: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    promise(id): a row\n")
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "pytest", "-p", "tests.legs", "-p", "no:django", *arguments, folder],
        cwd=PROJECT,
        env={**os.environ, "CI": "true" if ci else "false"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_leg_is_said_to_have_run_or_to_be_absent(tmp_path: Path) -> None:
    for workers in ((), ("-n", "2")):
        said = run(tmp_path, *workers)
        assert said.returncode == 0, said.stdout
        assert "Redis       ran" in said.stdout
        assert "PostgreSQL  absent: no server found" in said.stdout
        assert "Browser     not asked for" in said.stdout
        assert "4 passed, 1 skipped" in said.stdout.splitlines()[-1]


def test_an_absent_leg_fails_where_everything_has_to_run(tmp_path: Path) -> None:
    said = run(tmp_path, ci=True)
    assert said.returncode == 1
    assert "PostgreSQL  absent: no server found" in said.stdout


def test_any_skip_fails_where_everything_has_to_run(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("import pytest\ndef test_it(): pytest.skip('why not')")
    said = run(tmp_path, "-k", "test_it", ci=True)
    assert said.returncode == 1
    assert "CI=true: 1 skipped tests fail the run" in said.stdout


def test_the_scorecard_counts_a_promises_tests_and_tells_its_figures(tmp_path: Path) -> None:
    for workers in ((), ("-n", "2")):
        said = run(tmp_path, "--scorecard", "--randomly-seed=7", *workers)
        lines = said.stdout.splitlines()
        start = next(n for n, line in enumerate(lines) if line.startswith("M2 "))
        assert [" ".join(line.split()) for line in lines[start : start + 5]] == [
            "M2 1 of 2 tests passed, seed 7",
            "M3 2 of 2 tests passed, seed 7",
            "calls 1,000 wanted 1,000",
            "difference, n$ 0 … 2 wanted 0",
            "M10 1 of 1 tests passed, seed 7",
        ]

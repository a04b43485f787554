"""What was late beside another worker is asked again alone; nothing else is asked twice."""

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.processes import PROJECT

SUITE = """
import os
import pytest
from tests.harness.together import in_time

CROWDED = "PYTEST_XDIST_WORKER" in os.environ

@pytest.mark.timed
def test_late_in_a_crowd():
    assert not CROWDED, "the first failure is told"

def test_late_by_its_error():
    in_time(2 if CROWDED else 0, 1)

@pytest.fixture
def started():
    in_time(2 if CROWDED else 0, 1)

def test_late_to_start(started): ...

def test_late_to_hear():
    if CROWDED:
        raise TimeoutError("nothing was heard")

@pytest.mark.timed
def test_always_late():
    assert False

def test_wrong():
    assert not CROWDED

def test_right(): ...
"""


def run(folder: Path, chosen: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = -p no:django\nmarkers =\n    timed: late\n"
    )
    kept = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "tests.run", "-k", chosen, *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_was_late_is_tried_again_alone(tmp_path: Path) -> None:
    said = run(tmp_path, "test_late or test_right")
    assert said.returncode == 0, said.stdout
    assert "the first failure is told" in said.stdout
    assert "1 passed, 4 beside" in said.stdout
    assert "4 passed" in said.stdout.splitlines()[-1]


def test_what_is_wrong_or_late_alone_as_well_fails_the_run(tmp_path: Path) -> None:
    said = run(tmp_path, "test_always_late or test_wrong")
    assert said.returncode == 1
    assert "1 failed, 1 beside" in said.stdout
    assert "1 failed in" in said.stdout.splitlines()[-1]

"""The locks name every package once, pinned and hashed, and no place it would come from."""

import re
from pathlib import Path

import pytest

from tests.architecture.tree import PROJECT, pyproject

LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))
PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(\[[a-z0-9,._-]+\])?==\S+( ; [^\\]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")

each_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)


def packages(lock: Path) -> list[str]:
    matches = (PINNED.match(line) for line in lock.read_text().splitlines())
    return [match["name"] for match in matches if match]


def wanted(*extras: str) -> set[str]:
    """Return the names that `pyproject.toml` asks for, with these extras or groups."""
    project = pyproject()["project"]
    groups = {**project["optional-dependencies"], **pyproject()["dependency-groups"]}
    asked = [*project["dependencies"], *(one for extra in extras for one in groups[extra])]
    return {re.split(r"[\[<>=;~! ]", one)[0].lower() for one in asked}


def test_there_is_a_lock_for_each_purpose() -> None:
    assert {lock.stem for lock in LOCKS} == {"run", "production", "dev"}


@each_lock
def test_a_lock_names_no_place(lock: Path) -> None:
    assert "://" not in lock.read_text()
    assert "--index" not in lock.read_text()


@each_lock
def test_every_line_is_a_pinned_package_or_its_hash(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    strange = [line for line in lines if not (PINNED.match(line) or HASH.match(line))]
    assert strange == []
    followed = zip(lines, [*lines[1:], ""], strict=True)
    unhashed = [line for line, after in followed if PINNED.match(line) and not HASH.match(after)]
    assert unhashed == []


@each_lock
def test_a_package_stands_once(lock: Path) -> None:
    # Once for each marker: two versions may hold on different systems.
    lines = [line for line in lock.read_text().splitlines() if PINNED.match(line)]
    assert len(lines) == len(set(lines))
    assert len(packages(lock)) > 50


def test_the_locks_hold_what_the_project_asks_for() -> None:
    by_purpose = {lock.stem: set(packages(lock)) for lock in LOCKS}
    assert wanted() <= by_purpose["run"]
    assert wanted("postgres", "redis") <= by_purpose["production"]
    assert wanted("postgres", "redis", "dev", "lint") <= by_purpose["dev"]

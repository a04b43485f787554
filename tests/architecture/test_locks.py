"""The locks name every package once, pinned and hashed, and no place it would come from."""

import json
import re
from collections.abc import Iterable
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
    return names(pyproject()["project"]["dependencies"]) | wanted_alone(*extras)


def wanted_alone(*extras: str) -> set[str]:
    groups = {**pyproject()["project"]["optional-dependencies"], **pyproject()["dependency-groups"]}
    return names(one for extra in extras for one in groups[extra])


def names(asked: Iterable[str]) -> set[str]:
    return {re.split(r"[\[<>=;~! ]", one)[0].lower() for one in asked}


def test_there_is_a_lock_for_each_purpose() -> None:
    assert {lock.stem for lock in LOCKS} == {"run", "production", "dev", "clients", "clients-older"}


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
    for apart in ("clients", "clients-older"):
        assert wanted_alone(apart) <= by_purpose[apart]


def test_the_lock_of_npm_names_no_place_either() -> None:
    lock = json.loads((PROJECT / "tests/clients/vercel/package-lock.json").read_text())
    wanted = json.loads((PROJECT / "tests/clients/vercel/package.json").read_text())
    root, *installed = lock["packages"].values()
    assert root["dependencies"] == wanted["dependencies"]
    assert all(package["integrity"].startswith("sha512-") for package in installed)
    assert not any("resolved" in package for package in installed)

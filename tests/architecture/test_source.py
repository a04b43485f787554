"""Habits of the code that a reader relies on, checked by what the source says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.providers.catalog import CATALOG
from tests.architecture.tree import PACKAGES, PROJECT, parsed, place, sources

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
# The process's own clock is handed on from here as the argument it has to be elsewhere.
CLOCK = PROJECT / "llm_gateway" / "service" / "runtime.py"
# What is compared here is not a provider: an official SDK, a dialect, a part of a body.
CATALOGUE = PROJECT / "llm_gateway" / "providers" / "catalog.py"
ARGUED = re.compile(r"noqa: [A-Z0-9, ]+\S|type: ignore\[[\w, -]+\]")


def names_in(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Yield every dotted name that a module imports or reads."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield node, f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield node, name.name
        elif isinstance(node, ast.Attribute):
            yield node, ast.unparse(node)


def uses(pattern: str, *folders: str) -> list[str]:
    found = re.compile(pattern)
    return [
        place(path, node)
        for path in sources(*folders)
        for node, name in names_in(path)
        if found.search(name)
    ]


def test_nothing_listens_to_signals_of_the_framework() -> None:
    assert uses(r"django\.db\.models\.signals|django\.dispatch") == []


def test_nothing_of_ours_is_patched() -> None:
    assert uses(r"mock\.patch|monkeypatch\.(setattr|setitem|delattr)", *PACKAGES, "tests") == []


def test_the_time_of_day_is_an_argument() -> None:
    allowed = [one for one in uses(r"(^|\W)time\.time$") if one.startswith(str(relative(CLOCK)))]
    assert uses(r"(^|\W)time\.time$") == allowed
    assert len(allowed) == 1


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in sources(*PACKAGES, "tests") if path.stem in VAGUE] == []


def test_every_module_with_code_says_its_job_first() -> None:
    silent = [
        path
        for path in sources(*PACKAGES, "tests")
        if path.read_text("utf-8").strip() and ast.get_docstring(parsed(path)) is None
    ]
    assert silent == []


def provider_ladders(path: Path) -> Iterator[str]:
    """Yield comparisons of something called kind, provider or name with a provider's kind."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        words = {
            leaf.value
            for side in sides
            for leaf in ast.walk(side)
            if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
        }
        asked = " ".join(ast.unparse(side) for side in sides)
        if words & CATALOG.keys() and re.search(r"\bkind\b|provider", asked):
            yield place(path, node)


def test_nothing_outside_the_catalogue_asks_who_a_provider_is() -> None:
    found = [one for path in sources() if path != CATALOGUE for one in provider_ladders(path)]
    # The mock is no provider: only it has answers to configure.
    assert [one for one in found if "configuration/references.py" not in one] == []


@pytest.mark.parametrize("mark", ["noqa", "type: ignore"])
def test_an_exemption_names_its_rule(mark: str) -> None:
    bare = [
        f"{relative(path)}:{number}"
        for path in sources(*PACKAGES, "tests")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(rf"#\s*{mark}\b", line) and not ARGUED.search(line)
    ]
    assert bare == []


def relative(path: Path) -> Path:
    return path.relative_to(PROJECT)

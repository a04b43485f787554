"""Every promise of these has a test, and one that is red without it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.architecture.tree import PROJECT, parsed

ROWS = (
    *(f"M{n}" for n in range(1, 14)),
    *(f"D{n}" for n in range(1, 5)),
    *("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F13"),
    *("S1", "S2", "S4", "S5", "S6", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S16"),
)
MARKER = "promise"
# Those that have none, and why.
UNCONTROLLED = {
    "D2": "a time: there is no guard to take out",
    "F11": "a size: there is no guard to take out",
}
# A test says in its name, or in what it takes, that it is a control.
CONTROL = re.compile(
    r"goes_red|is_red|mutant|without_(the|its)_guard|without_both|overlooks|are_found"
)


def marked() -> Iterator[tuple[str, str]]:
    """Yield each promise with the source of a test that shows it."""
    for path in sorted((PROJECT / "tests").rglob("test_*.py")):
        body = parsed(path).body
        of_module = [row for node in body if isinstance(node, ast.Assign) for row in rows(node)]
        for node in filter(is_test, body):
            own = [row for each in getattr(node, "decorator_list", ()) for row in rows(each)]
            yield from ((row, ast.unparse(node)) for row in (*of_module, *own))


def is_test(node: ast.AST) -> bool:
    return getattr(node, "name", "").lower().startswith("test")


def rows(node: ast.AST) -> Iterator[str]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == f"pytest.mark.{MARKER}":
            (row,) = call.args
            assert isinstance(row, ast.Constant)
            yield str(row.value)


def test_every_promise_about_money_has_a_test_and_a_control() -> None:
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for row, source in marked():
        tests[row].append(source)
    assert [row for row in ROWS if not tests[row]] == []
    controlled = {
        row for row, sources in tests.items() if any(CONTROL.search(each) for each in sources)
    }
    assert [row for row in ROWS if row not in controlled] == list(UNCONTROLLED)

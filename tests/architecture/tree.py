"""Read the project's own sources and contracts, so that tests enumerate instead of listing."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
PACKAGES = ("mobius", "llm_gateway", "tenants")


def sources(*folders: str) -> Iterator[Path]:
    """Yield Python files below folders of the project, without generated migrations."""
    for folder in folders or PACKAGES:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 1)}"


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


def contract(name: str) -> dict[str, Any]:
    """Return one contract of import-linter by its name."""
    contracts: list[dict[str, Any]] = pyproject()["tool"]["importlinter"]["contracts"]
    return next(one for one in contracts if one["name"] == name)


def text(name: str) -> str:
    """Return a file of the project, such as `docs/architecture.md`."""
    return (PROJECT / name).read_text("utf-8")

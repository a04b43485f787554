"""What may be imported where, in fresh interpreters: only they see what is imported late."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import PROJECT, contract, module_name, sources

PLAIN = contract("The plain half knows no framework")
LAZY = ("openai", "anthropic", "mcp", "celery", "boto3", "tiktoken", "genai_prices", "playwright")

# A finder that comes first refuses by name, so the first import of a framework names its importer.
IMPORT_WITHOUT = """
import importlib, importlib.abc, sys
forbidden, modules = sys.argv[1].split(","), sys.argv[2].split(",")
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ImportError("imports " + name)
sys.meta_path.insert(0, Refuse())
for module in modules:
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(module, error)
"""

LOADED = """
import sys, mobius.asgi
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def plain_modules() -> Iterator[str]:
    for path in sources("llm_gateway", "tenants"):
        name = module_name(path)
        if any(name == one or name.startswith(f"{one}.") for one in PLAIN["source_modules"]):
            yield name


def fresh(code: str, home: Path, *arguments: str) -> str:
    """Run code in an interpreter that has imported nothing yet; return what it printed."""
    environment = {"PATH": os.environ["PATH"], "MOBIUS_HOME": str(home), "DATABASE_URL": ""}
    run = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_plain_module_imports_without_a_framework(tmp_path: Path) -> None:
    modules = sorted(plain_modules())
    assert len(modules) > 50
    frameworks = ",".join(PLAIN["forbidden_modules"])
    assert fresh(IMPORT_WITHOUT, tmp_path, frameworks, ",".join(modules)) == ""


def test_a_framework_in_a_plain_module_would_be_seen(tmp_path: Path) -> None:
    """Check the check: `llm_gateway.models` is not plain."""
    said = fresh(IMPORT_WITHOUT, tmp_path, "django", "llm_gateway.models")
    assert said.startswith("llm_gateway.models imports django")


def test_serving_loads_nothing_that_is_meant_for_first_use(tmp_path: Path) -> None:
    loaded = set(fresh(LOADED, tmp_path).split())
    assert "django" in loaded
    assert loaded.isdisjoint(LAZY)


def test_the_import_contracts_hold(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(  # noqa: S603 - a tool of ours
        [command, "--no-cache"],
        cwd=PROJECT,
        env={**os.environ, "MOBIUS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout

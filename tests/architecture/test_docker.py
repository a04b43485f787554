"""Image and compose file agree with the tree and with each other, as far as it shows unbuilt."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.architecture.tree import PROJECT, text

DOCKERFILE = text("docker/Dockerfile")
SCRIPTS = sorted((PROJECT / "docker").glob("*.sh"))
OURS = ("migrate", "web", "worker", "beat")


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text("docker/compose.yml"))
    return document


def copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    allowed = {line[1:] for line in text("docker/Dockerfile.dockerignore").splitlines()}
    assert {"mobius", "llm_gateway", "tenants", "templates"} <= set(copied())
    for source in copied():
        assert (PROJECT / source).exists()
        assert source in allowed


def test_the_image_runs_without_root_and_checks_its_packages() -> None:
    assert re.search(r"^USER mobius$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE
    assert "/healthz" in DOCKERFILE


@pytest.mark.parametrize("name", OURS)
def test_every_part_runs_a_command_that_exists(name: str) -> None:
    command = compose()["services"][name]["command"][0]
    assert command in {"web", "worker", "beat", *get_commands()}


@pytest.mark.parametrize("name", OURS)
def test_secrets_come_as_files(name: str) -> None:
    document = compose()
    service = document["services"][name]
    assert set(service["secrets"]) <= document["secrets"].keys()
    for variable, value in service["environment"].items():
        if variable.endswith("_FILE"):
            assert Path(value).name in service["secrets"]
        assert "@" not in value
    made = text("docker/make-secrets.sh")
    assert all(f"keep {secret} " in made for secret in document["secrets"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", script], check=True, timeout=10)  # noqa: S603 - reads it only
    assert script.stat().st_mode & 0o111

"""Give the clients one gateway under the names they know, and each an environment to run in."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.program import Program
from tests.harness.config import (
    API_KEY,
    CHAT,
    anthropic_provider,
    configuration,
    model,
    openai_provider,
    provider,
    route,
)
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import PROJECT, unused
from tests.harness.services import absent
from tests.upstream.client import Upstream

CLIENTS, OLDER = Path(sys.prefix, "clients"), Path(sys.prefix, "clients-older")
VERCEL = PROJECT / "tests/clients/vercel"
# OpenAI's vocabularies come with LlamaIndex: other clients would fetch them from far away.
VOCABULARIES = "lib/python*/site-packages/llama_index/core/_static/tiktoken_cache"

GPT, CLAUDE, GEMINI = "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash"
GPT_EMBEDDINGS, GEMINI_EMBEDDINGS = "text-embedding-3-small", "gemini-embedding-001"
# LlamaIndex's Anthropic takes no name but Claude's: these routes are called so and lead elsewhere.
CLAUDES = {GPT: "claude-3-5-haiku-latest", GEMINI: "claude-3-7-sonnet-latest"}


@pytest.fixture(scope="session")
def client_packages() -> dict[str, Path]:
    """Return the interpreter of each client that cannot live with the others."""
    if not all((place / "installed").exists() for place in (CLIENTS, OLDER)):
        absent("Clients", "not installed; make test does it")
    return dict.fromkeys(("llama_index", "instructor"), OLDER / "bin/python")


@pytest.fixture(scope="session")
def node_packages() -> str:
    """Return the Node that finds the packages of `tests/clients/vercel`."""
    node = shutil.which("node")
    if node is None:
        absent("Node", "there is no node")
    if not (VERCEL / "node_modules").exists():
        absent("Node", "packages are not installed; make test does it where there is npm")
    return node


@pytest.fixture(scope="session")
def town(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    url = upstream_process.base_url
    sections = {
        "providers": [
            openai_provider(url),
            anthropic_provider(url),
            provider("google", "gemini", url),
        ],
        "models": [
            model(GPT, capabilities=[*CHAT, "responses"]),
            model(CLAUDE, "anthropic"),
            model(GEMINI, "google"),
            model(GPT_EMBEDDINGS, capabilities=["embeddings"]),
            model(GEMINI_EMBEDDINGS, "google", capabilities=["embeddings"]),
        ],
        "routes": [route(name, target) for target, name in CLAUDES.items()],
    }
    with installed(sqlite_databases, tmp_path_factory.mktemp("town"), output) as gateway:
        gateway.apply(configuration(url, **sections))
        yield gateway.serve()


@pytest.fixture(scope="session")
def program(
    request: pytest.FixtureRequest,
    town: GatewayProcess,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Callable[[str], Program]]:
    """Return the program of a client, started when it is first asked for."""
    home = tmp_path_factory.mktemp("clients")
    running: dict[str, Program] = {}

    def started(client: str) -> Program:
        if client in running and not running[client].fit:
            running.pop(client).stop()
        if client not in running:
            command = COMMANDS.get(client, python_program)(request, client)
            stem = unused(output, f"client-{client}")
            running[client] = Program(command, stem, environment(home, town.url))
        return running[client]

    yield started
    for one in running.values():
        one.stop()


def python_program(request: pytest.FixtureRequest, client: str) -> list[str]:
    python = request.getfixturevalue("client_packages").get(client, CLIENTS / "bin/python")
    return [str(python), "-m", "tests.clients.programs.runner", client]


def node_program(request: pytest.FixtureRequest, _: str) -> list[str]:
    return [request.getfixturevalue("node_packages"), str(VERCEL / "program.mjs")]


COMMANDS = {"vercel": node_program}


def environment(home: Path, url: str) -> dict[str, str]:
    """Return all that a client may know; whatever it would tell its makers is switched off."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LLM_USER_PATH": str(home),
        "PYTHONUNBUFFERED": "1",
        "MOBIUS_URL": url,
        "MOBIUS_KEY": API_KEY,
        "MOBIUS_MODELS": f"{GPT},{CLAUDE},{GEMINI}",
        "TIKTOKEN_CACHE_DIR": str(next(OLDER.glob(VOCABULARIES), "")),
        "LANGSMITH_TRACING": "false",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LOGFIRE_SEND_TO_LOGFIRE": "false",
        "AI_SDK_LOG_WARNINGS": "false",
    }

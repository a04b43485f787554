"""Give every test the processes it may talk to; each is started once and reset for each test."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.harness import canary, replay, services
from tests.harness.database import Databases, PostgresDatabases, SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed, migrate_into
from tests.legs import figure
from tests.upstream.client import Upstream

__all__ = ["figure"]  # here too, so that a test runs without the plugin that tells of it

OUTPUT = "MOBIUS_TEST_OUTPUT"

# --- what processes write, and the last look at it


def pytest_configure() -> None:
    """Choose the folder for all output before xdist starts its workers, who inherit it."""
    if OUTPUT not in os.environ:
        os.environ[OUTPUT] = tempfile.mkdtemp(prefix="mobius-test-output-")


def pytest_report_header() -> str:
    return f"output of all processes: {os.environ[OUTPUT]}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the whole run when a secret got out anywhere (`scorecard.md` S3)."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    found = list(canary.leaks(Path(os.environ[OUTPUT])))
    for path, secret in found:
        session.config.get_terminal_writer().line(f"\nsecret leaked: {secret} in {path}", red=True)
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def output() -> Path:
    """Return the folder that takes what every process of this session writes."""
    folder = Path(os.environ[OUTPUT], os.environ.get("PYTEST_XDIST_WORKER", "main"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --- upstreams


@pytest.fixture(scope="session")
def upstream_process(output: Path) -> Iterator[Upstream]:
    upstream = Upstream.start(output)
    yield upstream
    upstream.stop()


@pytest.fixture
def upstream(upstream_process: Upstream) -> Upstream:
    """Return the scripted upstream, with nothing told, seen or billed yet."""
    upstream_process.reset()
    return upstream_process


@pytest.fixture(scope="session")
def replay_upstream(
    tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[replay.ReplayUpstream]:
    """Return the recordings of real providers, which are no part of a clone."""
    if not replay.is_here():
        services.absent("Recordings", f"nothing at {replay.SHARED.name}/ beside the project")
    upstream = replay.ReplayUpstream(tmp_path_factory.mktemp("replay"), output)
    yield upstream
    upstream.stop()


@pytest.fixture(scope="session")
def published_schemas() -> None:
    """Have the schemas that providers publish, which are no part of a clone either."""
    if not replay.SCHEMAS.is_dir():
        services.absent("Schemas", f"nothing at {replay.SHARED.name}/specs beside the project")


# --- services


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.postgres(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return a Redis database of our own; the tests that use it flush it."""
    with services.redis_server() as url:
        yield url


# --- databases and gateways


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory, output: Path) -> SqliteDatabases:
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"), migrate_into(output))


@pytest.fixture(scope="session")
def postgres_databases(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, output: Path
) -> Iterator[PostgresDatabases]:
    folder = tmp_path_factory.mktemp("postgres")
    databases = PostgresDatabases(postgres_url, folder, migrate_into(output))
    yield databases
    databases.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_backend(request: pytest.FixtureRequest) -> str:
    """Run the test on both; one alone: `parametrize("database_backend", [...], indirect=True)`."""
    return str(request.param)


@pytest.fixture
def databases(request: pytest.FixtureRequest, database_backend: str) -> Databases:
    found: Databases = request.getfixturevalue(f"{database_backend}_databases")
    return found


@pytest.fixture
def gateway(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path, output: Path
) -> Iterator[GatewayProcess]:
    """Return a fresh installation: embedded on SQLite, with Redis on PostgreSQL."""
    url = ""
    if databases.backend == "postgres":
        url = request.getfixturevalue("redis_url")
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    with installed(databases, tmp_path, output, url) as gateway:
        yield gateway

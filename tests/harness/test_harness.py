"""The harness finds or starts what it needs, keeps what was said, and leaves nothing behind."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import psycopg
import pytest
import redis

from tests.harness import canary, services
from tests.harness.config import configuration, nano_prices
from tests.harness.database import PostgresDatabases, SqliteDatabases
from tests.harness.processes import Process, unused
from tests.harness.replay import ReplayUpstream
from tests.harness.trap import Trap


def test_postgresql_databases_are_copies_of_one_migrated_template(
    postgres_url: str, tmp_path: Path
) -> None:
    migrated = []

    def migrate(_home: Path, url: str) -> None:
        migrated.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE made_once (n int)")

    databases = PostgresDatabases(postgres_url, tmp_path, migrate)
    try:
        first, second = databases.create(tmp_path), databases.create(tmp_path)
        for url in (first, second):
            with psycopg.connect(url) as connection:
                connection.execute("INSERT INTO made_once VALUES (1)")
                assert connection.execute("SELECT count(*) FROM made_once").fetchone() == (1,)
            databases.drop(url)
    finally:
        databases.close()
    assert len(migrated) == 1
    with psycopg.connect(postgres_url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE %s",
            [f"mobius_test_{os.getpid()}_{databases._prefix.rpartition('_')[2]}%"],
        )
        assert left.fetchone() == (0,)


def test_sqlite_databases_are_copies_of_one_migrated_template(tmp_path: Path) -> None:
    migrated = []

    def migrate(home: Path, url: str) -> None:
        migrated.append(url)
        (home / "template.sqlite3").write_text("migrated")

    databases = SqliteDatabases(tmp_path, migrate)
    for name in ("a", "b"):
        home = tmp_path / name
        home.mkdir()
        assert databases.create(home) == f"sqlite:///{home}/mobius.sqlite3"
        assert (home / "mobius.sqlite3").read_text() == "migrated"
    assert len(migrated) == 1


def test_redis_is_a_database_of_our_own(redis_url: str) -> None:
    with services.redis_server() as other:
        assert other != redis_url
        with redis.Redis.from_url(other) as client:
            client.set("kept", 1)
    with services.redis_server() as again, redis.Redis.from_url(again) as client:
        assert client.dbsize() == 0


def test_an_absent_leg_is_named_and_fails_in_ci() -> None:
    with pytest.raises(pytest.skip.Exception, match="Redis leg: gone"):
        services.absent("Redis", "gone", {})
    with pytest.raises(pytest.fail.Exception, match="Redis leg cannot start: gone"):
        services.absent("Redis", "gone", {"CI": "true"})


@pytest.fixture(params=["started", "forked"])
def said(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Process]:
    def run(program: str) -> Process:
        path = unused(tmp_path, "program").with_suffix(".py")
        path.write_text(program)
        command, told = [sys.executable, "-u", str(path)], unused(tmp_path, "said")
        if request.param == "started":
            return Process(command, told, os.environ)
        return Process([sys.executable, str(path)], told, os.environ, forked=True)

    return run


def test_a_line_is_awaited_and_everything_said_is_kept(said: Callable[[str], Process]) -> None:
    process = said("import sys; print('warming'); print('ready on 1'); sys.exit('over')")
    assert process.wait_for_line("ready on", 10) == "ready on 1"
    assert process.wait(10) == 1
    assert process.log == "warming\nready on 1\n\nover\n"


def test_a_process_that_dies_unready_shows_its_log(said: Callable[[str], Process]) -> None:
    with pytest.raises(TimeoutError, match="no such option"):
        said("import sys; sys.exit('no such option')").wait_for_line("ready", 10)


def test_threads_and_what_is_to_be_done_at_the_end_are_waited_for(
    said: Callable[[str], Process],
) -> None:
    process = said(
        "import atexit, sys, threading, time\n"
        "atexit.register(print, 'at the end')\n"
        "threading.Timer(0.2, print, ['by a thread']).start()\n"
        "sys.exit(3)"
    )
    assert process.wait(10) == 3
    assert process.log == "by a thread\nat the end\n\n"


SPAWNING = """
import multiprocessing, os, sys
from django.conf import settings

def tell(pipe):
    pipe.send((os.getppid(), os.environ["LATER"], settings.configured, sys.argv[1:]))
    sys.exit(7)

if __name__ == "__main__":
    settings.configure()
    os.environ["LATER"] = "was set"
    spawn = multiprocessing.get_context("spawn")
    heard, pipe = spawn.Pipe(duplex=False)
    child = spawn.Process(target=tell, args=(pipe,))
    child.start()
    parent, *told = heard.recv()
    child.join()
    print("told", parent == os.getpid(), told, child.exitcode)
"""


@pytest.mark.parametrize("forked", [False, True], ids=["started", "forked"])
def test_what_is_spawned_is_the_programs_own_and_has_read_nothing_yet(
    tmp_path: Path, forked: bool
) -> None:
    path = tmp_path / "program.py"
    path.write_text(SPAWNING)
    command = [sys.executable, str(path), "--now"]
    process = Process(command, tmp_path / "said", {}, forked=forked, spawning=True)
    assert process.wait(30) == 0
    assert process.log == "told True ['was set', False, ['--now']] 7\n\n"


def test_killing_takes_the_whole_group(said: Callable[[str], Process]) -> None:
    process = said(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print('child', child.pid); child.wait()"
    )
    child = int(process.wait_for_line("child", 10).split()[1])
    assert process.children == [child]
    process.kill9()  # returns once nobody holds the output any more
    assert process.exit_code == -9
    assert process.wait(0) == -9


def test_a_forked_program_has_read_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import os, sys\n"
        "from django.conf import settings\n"
        "files = [name for name in os.listdir('/proc/self/fd') if int(name) > 2]\n"
        "print('told', settings.configured, dict(os.environ), sys.argv[1:], len(files))\n"
        "print('aiohttp' in sys.modules, __name__, os.getsid(0) == os.getpid())\n"
    )
    command = [sys.executable, str(path), "--now"]
    process = Process(command, tmp_path / "said", {"ONE": "1"}, forked=True)
    assert process.wait(30) == 0
    # The one file is the folder that is being read.
    told = "told False {'ONE': '1'} ['--now'] 1\nTrue __main__ True\n"
    assert (tmp_path / "said.out").read_text() == told
    assert (tmp_path / "said.err").read_text() == ""


def test_leaks_are_found_in_plain_and_in_base64(tmp_path: Path) -> None:
    (tmp_path / "clean").write_text("nothing to see, CANARY in name only")
    assert list(canary.leaks(tmp_path)) == []
    secrets = {"a": canary.canary("provider-key"), "b": canary.master_key()}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"key={secret}\n")
    assert [path.name for path, _found in canary.leaks(tmp_path)] == ["a", "b"]


def test_a_trap_counts_who_comes() -> None:
    with Trap() as trap:
        assert trap.connections == 0
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", trap.port), timeout=5) as line:
                assert line.recv(1) == b""
        assert trap.connections == 2


def test_prices_reach_the_upstream_as_nano_dollars_a_token() -> None:
    models = configuration("http://127.0.0.1:1")["models"]
    prices = nano_prices([*models, {"name": "free"}])
    assert prices["alpha"] == {"input": 1000, "output": 4000}
    assert prices["embed"] == {"input": 20, "output": 0}
    assert "free" not in prices


def test_recordings_are_replayed(replay_upstream: ReplayUpstream) -> None:
    found = httpx2.get(f"{replay_upstream.base_url}/__admin/health", timeout=10)
    assert found.status_code == 200

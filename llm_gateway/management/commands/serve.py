"""Serve in production: uvicorn, one process or several."""

import os
import shutil
import sys
import threading
import time
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from typing_extensions import override
from uvicorn.supervisors import Multiprocess

from llm_gateway.models import GatewaySettings

APPLICATION = "mobius.asgi:application"
MIB = 1024 * 1024
LONGEST_START_S = 60.0


class Command(BaseCommand):
    help = "Serve the gateway and its console."
    requires_system_checks = "__all__"

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--workers", type=int, default=1)

    @override
    def handle(self, *_args: Any, **options: Any) -> None:
        host, port, workers = options["host"], options["port"], options["workers"]
        _check_port(port)
        _check_workers(workers)
        drain_s = _check_database()
        config = uvicorn.Config(
            APPLICATION,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=MIB,
            ws_per_message_deflate=False,
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=bool(settings.TRUSTED_PROXIES),
            forwarded_allow_ips=settings.TRUSTED_PROXIES,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=drain_s + 10,
        )
        ready = f"Mobius is ready on http://{host}:{port}"
        if workers == 1:
            server = Server(config, ready)
            server.run()
            if not server.started:
                sys.exit(3)
        else:
            _count_together()
            threading.Thread(target=_announce, args=(host, port, ready), daemon=True).start()
            Multiprocess(config, [config.bind_socket()]).run()


class Server(uvicorn.Server):
    """uvicorn's server, which says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    @override
    async def shutdown(self, sockets: Any = None) -> None:
        await super().shutdown(sockets)
        # uvicorn would raise the signal again and die of it; a stop that was asked for is no death.
        self._captured_signals.clear()

    @override
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"{self._ready}\n")
            sys.stdout.flush()


def _check_port(port: int) -> None:
    # uvloop would take the number modulo 65536 and serve somewhere else.
    if not 0 < port < 65_536:  # noqa: PLR2004 - 16 bits
        raise CommandError("--port has to be a number from 1 to 65535.")


def _check_workers(workers: int) -> None:
    if workers < 1:
        raise CommandError("--workers has to be 1 or more.")
    if workers > 1 and (settings.EMBEDDED or not settings.REDIS_URL):
        raise CommandError(
            "More than one worker needs PostgreSQL and Redis: set DATABASE_URL and REDIS_URL."
        )


def _count_together() -> None:
    """Give the workers one folder for their counters, so that any of them tells of all."""
    folder = settings.MOBIUS_HOME / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _check_database() -> int:
    """Return the configured drain time. Raises CommandError where nothing can be served."""
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError("The database is not migrated: run `manage.py migrate` first.")
        row = GatewaySettings.objects.first()
    except Error as error:
        raise CommandError(f"The database cannot be reached: {error}") from None
    finally:
        connection.close()
    return row.drain_seconds if row else 120


def _announce(host: str, port: int, ready: str) -> None:
    """Print the ready line once a worker answers."""
    until = time.monotonic() + LONGEST_START_S
    while time.monotonic() < until:
        try:
            with urlopen(f"http://{host}:{port}/readyz", timeout=1):
                sys.stdout.write(f"{ready}\n")
                sys.stdout.flush()
                return
        except (URLError, OSError):
            time.sleep(0.05)

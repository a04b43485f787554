"""Serve in production: uvicorn, one process or several."""

import os
import shutil
import sys
from functools import partial
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from typing_extensions import override

from llm_gateway.management.server import Server
from llm_gateway.management.supervisor import FAILED_START, Supervisor
from tenants.money.fleet import STARTED_TOGETHER

APPLICATION = "mobius.asgi:application"
MIB = 1024 * 1024


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
        _check_database()
        config = uvicorn.Config(
            APPLICATION,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http="llm_gateway.edge.protocols:HttpProtocol",
            ws="llm_gateway.edge.protocols:WebSocketProtocol",
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
        )
        ready = partial(_say, f"Mobius is ready on http://{host}:{port}")
        if workers == 1:
            server = Server(config, ready)
            server.run()
            if not server.started:
                sys.exit(FAILED_START)
        else:
            _count_together()
            os.environ[STARTED_TOGETHER] = str(workers)
            sys.exit(Supervisor(config, [config.bind_socket()], ready).run())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
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


def _check_database() -> None:
    """Raise CommandError where nothing can be served."""
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError("The database is not migrated: run `manage.py migrate` first.")
    except Error as error:
        raise CommandError(f"The database cannot be reached: {error}") from None
    finally:
        connection.close()

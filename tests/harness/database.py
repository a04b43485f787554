"""Make a migrated database for every test: migrate once a session, copy from then on."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

Migrate = Callable[[Path, str], None]  # of a MOBIUS_HOME and a DATABASE_URL


class Databases(Protocol):
    """A backend that has migrated databases to give away."""

    backend: str

    def create(self, home: Path) -> str: ...
    def drop(self, url: str) -> None: ...


class SqliteDatabases:
    """Files; each lies in the home that asks for it and goes with it."""

    backend = "sqlite"

    def __init__(self, folder: Path, migrate: Migrate) -> None:
        self._template = folder / "template.sqlite3"
        self._migrate = migrate

    def create(self, home: Path) -> str:
        if not self._template.exists():
            self._migrate(self._template.parent, f"sqlite:///{self._template}")
        shutil.copy(self._template, home / "mobius.sqlite3")
        return f"sqlite:///{home / 'mobius.sqlite3'}"

    def drop(self, url: str) -> None:
        """Nothing: the file goes with its home."""


class PostgresDatabases:
    """Databases on one server, under names that no other session can have."""

    backend = "postgres"

    def __init__(self, server_url: str, folder: Path, migrate: Migrate) -> None:
        self._server_url = server_url
        self._folder = folder
        self._migrate = migrate
        self._prefix = f"mobius_test_{os.getpid()}_{secrets.token_hex(3)}"
        self._made = 0
        self._template = ""

    def create(self, home: Path) -> str:  # noqa: ARG002 - the data is elsewhere
        if not self._template:
            template = f"{self._prefix}_template"
            self._execute("CREATE DATABASE {}", template)
            self._template = template
            self._migrate(self._folder, self._url(template))
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, self._template)
        return self._url(name)

    def drop(self, url: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", urlsplit(url).path[1:])

    def close(self) -> None:
        if self._template:
            self.drop(self._url(self._template))

    def _url(self, name: str) -> str:
        return urlsplit(self._server_url)._replace(path=f"/{name}").geturl()

    def _execute(self, statement: str, *names: str) -> None:
        query = sql.SQL(statement).format(*map(sql.Identifier, names))
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(query)

"""Give each test of insight a migrated database of its own, SQLite and PostgreSQL in turn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.recorder.journal import Journal
from tests.harness.database import Databases
from tests.unit.request_log import connected


@pytest.fixture
def alias(databases: Databases, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    url = databases.create(tmp_path)
    with django_db_blocker.unblock(), connected(url) as alias:
        yield alias
    databases.drop(url)


@pytest.fixture
def journal(alias: str) -> Iterator[Journal]:
    journal = Journal(alias)
    yield journal
    journal.close()

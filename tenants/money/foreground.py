"""Write the ledger from a command: the writer's own code, without its thread."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings
from django.db import connection

from tenants.money.from_settings import ledger_key, open_store
from tenants.money.lock import ProcessLock
from tenants.money.session import Session
from tenants.money.store import StoreError


@contextmanager
def foreground_session() -> Iterator[Session]:
    """Give a session with a chain of its own. Raises LedgerInUseError and StoreError."""
    embedded = connection.vendor == "sqlite"
    lock = ProcessLock(Path(settings.MOBIUS_HOME) / "ledger.lock") if embedded else None
    if lock:
        lock.acquire()
    store = open_store(connection)
    try:
        session = Session(store, ledger_key, time.monotonic)
        session.connect()
        yield session
        with suppress(StoreError):
            session.beat(stopped=True)
    finally:
        store.close()
        if lock:
            lock.release()

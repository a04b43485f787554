"""Hold up parts of a gateway process from outside, by files in its home and by a signal."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Instead of 25; more than the database may be silent before what waits for it waits rightly.
STUCK_S = 4.0
BLOCKED_S = 3.0
WRITER, LOG, DISK = "stuck-writer", "stuck-log", "full-disk"


def held_up_by(name: str) -> Path:
    return Path(os.environ["MOBIUS_HOME"], name)


def become_sticky() -> None:
    """Obey those files; Django has to be set up."""
    from llm_gateway.recorder.journal import Journal  # noqa: PLC0415 - needs Django
    from llm_gateway.service import vitals  # noqa: PLC0415 - likewise
    from tenants.money.session import Session  # noqa: PLC0415 - likewise

    vitals.health.__defaults__ = (STUCK_S,)
    parts: list[tuple[Any, str, Any]] = [
        (vitals, "MIGRATIONS_S", STUCK_S),
        (vitals, "free_bytes", _free_bytes),
        (Session, "commit", _sticking(Session.commit, WRITER)),
        (Journal, "write", _sticking(Journal.write, LOG)),
    ]
    for owner, name, part in parts:
        setattr(owner, name, part)
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(BLOCKED_S))


def become_blind() -> None:
    """See nothing wrong with oneself."""
    from llm_gateway.service import vitals  # noqa: PLC0415 - needs Django

    vitals.health = lambda *_: vitals.Health([], [], [])


def _sticking(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a method that comes to no end while there is such a file."""

    def stuck(*given: Any) -> Any:
        while held_up_by(name).exists():
            time.sleep(0.02)
        return method(*given)

    return stuck


def _free_bytes() -> int:
    return 0 if held_up_by(DISK).exists() else 2**30

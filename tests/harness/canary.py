"""Make secrets that can be found again: one of them in any output is a leak."""

import base64
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_MASTER = b"CANARY-master-key-"  # 18 bytes are 24 characters of base64 exactly

PATTERN = re.compile(rb"CANARY-[a-z0-9-]+-[0-9a-f]{8,}|" + base64.urlsafe_b64encode(_MASTER))


def canary(kind: str) -> str:
    """Return a secret of 128 random bits that `PATTERN` finds."""
    return f"CANARY-{kind}-{secrets.token_hex(16)}"


def master_key() -> str:
    """Return a MOBIUS_MASTER_KEY that `PATTERN` finds, in plain or in base64."""
    return base64.urlsafe_b64encode(_MASTER + secrets.token_hex(7).encode()).decode()


def leaks(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file below the folder that holds a canary, with the first one found."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (found := PATTERN.search(path.read_bytes())):
            yield path, found.group().decode()

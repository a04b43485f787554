"""What every client's program knows: where the gateway is, two tools to run, whom to tell."""

import json
import os
import sys
from typing import Any, TextIO

from pydantic import BaseModel, field_validator

URL, KEY = os.environ["MOBIUS_URL"], os.environ["MOBIUS_KEY"]
MODELS = os.environ["MOBIUS_MODELS"].split(",")
QUESTION = "How is the weather in Rome, and what time is it there?"

ran: list[tuple[str, dict[str, str]]] = []  # every tool that was run, since the case began
_told: list[TextIO] = [sys.stdout]


def weather(town: str) -> str:
    """Say how warm it is in a town."""
    ran.append(("weather", {"town": town}))
    return f"24 degrees in {town}"


def clock(zone: str) -> str:
    """Say what time it is in a time zone."""
    ran.append(("clock", {"zone": zone}))
    return f"noon in {zone}"


class Visit(BaseModel):
    """Where somebody is, and by which clock."""

    town: str
    zone: str

    @field_validator("zone")
    @classmethod
    def named_in_full(cls, zone: str) -> str:
        if "/" not in zone:
            raise ValueError("Name the continent too.")
        return zone


def tell(**what: Any) -> None:
    """Write one line to the test."""
    print(json.dumps(what, default=str), file=_told[0], flush=True)


def tell_piece(piece: str | None) -> None:
    """Tell of a piece of streamed text while the answer still runs."""
    if piece:
        tell(piece=piece)


def tell_apart() -> None:
    """Keep stdout for what is told; what a library prints goes to stderr."""
    _told[0] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

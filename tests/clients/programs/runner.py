"""Run one client's cases: a line on stdin asks for one, a line on stdout tells what was seen.

    python -m tests.clients.programs.runner langchain

The client is imported once for all cases. `strangers` are the hosts beyond this machine that
anything in here wanted to reach since the last line, at import too.
"""

import importlib
import json
import socket
import sys
import traceback
from typing import Any

from tests.clients.programs import town

HERE = {"127.0.0.1", "::1", "localhost", None}
strangers: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note who is to be reached; an audit hook sees every way to do so."""
    if event == "socket.getaddrinfo" and arguments[0] not in HERE:
        strangers.append(str(arguments[0]))
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if host not in HERE:
            strangers.append(str(host))


def stray(_: str) -> dict[str, Any]:
    """Reach for somebody else, so that the test can see that it would be told."""
    with socket.socket() as stranger:
        stranger.connect_ex(("127.0.0.2", 1))
    return {}


def main(name: str) -> None:
    town.tell_apart()
    sys.addaudithook(watch)
    cases = importlib.import_module(f"tests.clients.programs.{name}").CASES | {"stray": stray}
    for line in sys.stdin:
        asked = json.loads(line)
        town.ran.clear()
        try:
            seen = cases[asked["case"]](asked["model"])
        except Exception:  # noqa: BLE001 - whatever it is, the test shows it
            seen = {"failed": traceback.format_exc()}
        town.tell(seen={**seen, "ran": town.ran, "strangers": strangers})
        strangers.clear()


if __name__ == "__main__":
    main(sys.argv[1])

"""Run one client's program, ask it for a case, and say what it saw."""

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.harness.processes import PROJECT

Seen = dict[str, Any]
END = ""


class Program:
    """A process that imports one client once; it ends when its stdin does.

    `fit` says that it has answered whatever it was asked: another is needed otherwise.
    """

    def __init__(self, command: Sequence[str], stem: Path, environment: Mapping[str, str]) -> None:
        self._errors = stem.with_suffix(".err")
        with self._errors.open("wb") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                cwd=PROJECT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.fit = True
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, case: str, model: str, on_piece: Callable[[], object], limit_s: float) -> Seen:
        """Return what was seen, with all `pieces`; `on_piece` is called at each while it runs."""
        assert self._process.stdin is not None
        self.fit = False
        with suppress(BrokenPipeError):  # it has ended: what it wrote is shown below
            self._process.stdin.write(json.dumps({"case": case, "model": model}) + "\n")
            self._process.stdin.flush()
        pieces: list[str] = []
        while "seen" not in (told := self._next(limit_s)):
            pieces.append(told["piece"])
            on_piece()
        self.fit = True
        seen: Seen = told["seen"]
        assert "failed" not in seen, seen["failed"]
        assert not seen["strangers"], f"it reached {seen['strangers']}"
        return {**seen, "pieces": pieces}

    def stop(self) -> None:
        with suppress(BrokenPipeError), self._process:
            self._process.kill()
            self._reader.join()

    def _next(self, limit_s: float) -> Any:
        try:
            line = self._lines.get(timeout=limit_s)
        except queue.Empty:
            line = END
        assert line != END, f"the program said nothing more; it wrote:\n{self._errors.read_text()}"
        return json.loads(line)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(END)

"""Run the recordings of real providers as an upstream, where they lie beside the project."""

import os
import sys
from pathlib import Path

from tests.harness.processes import PROJECT, Process, unused

SHARED = PROJECT.parent / "shared"
SCRIPT = SHARED / "replay" / "replay_upstream.py"
RECORDINGS = SHARED / "recordings"
SCHEMAS = SHARED / "specs"


class ReplayUpstream:
    """`base_url` answers a model named `rec:ID` with that recording."""

    def __init__(self, folder: Path, output: Path) -> None:
        """What it received, keys and all, is logged in `folder`: that is no output to search."""
        command = [sys.executable, str(SCRIPT), "--recordings", str(RECORDINGS), "--port", "0"]
        self.requests_log = folder / "requests.jsonl"
        command += ["--requests-log", str(self.requests_log)]
        self._process = Process(command, unused(output, "replay"), os.environ)
        line = self._process.wait_for_line("replaying ", 30)
        self.base_url = line.rpartition(" on ")[2]

    def stop(self) -> None:
        self._process.kill9()


def is_here() -> bool:
    return SCRIPT.exists() and RECORDINGS.is_dir()

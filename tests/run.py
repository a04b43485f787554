"""Run the whole suite: `python -m tests.run [--scorecard] [what pytest takes]`.

Settings of the tests' own process point to a fresh folder, so nothing ever touches an
installation's data. Tests of one file stay in one worker, since they share what a module starts.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import pytest

from tests.again import Again

# Of the process itself; gateways that tests start get an environment of their own. Empty, not
# absent: what is absent would be read from `.env`.
UNSET = (
    *("DATABASE_URL", "LEDGER_DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL"),
    "CELERY_BROKER_URL",
)
SECRETS = ("DJANGO_SECRET_KEY", "MOBIUS_MASTER_KEY")
WORKERS = "2"


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code."""
    os.environ.update(dict.fromkeys((*UNSET, *SECRETS), ""))
    for name in (*UNSET, *SECRETS, "MOBIUS_HOME"):
        os.environ.pop(f"{name}_FILE", None)
    chosen, again = [], Again()
    if "--scorecard" in arguments:
        chosen = ["-m", "promise"]
        os.environ["MOBIUS_TEST_STRICT"] = "1"  # times are promised on a machine of one's own
    with tempfile.TemporaryDirectory(prefix="mobius-test-home-") as home:
        os.environ["MOBIUS_HOME"] = home
        ended = pytest.main(
            ["-p", "tests.legs", "-n", WORKERS, "--dist", "loadfile", *chosen, *arguments],
            plugins=[again],
        )
    if again.nodes:
        alone = subprocess.call([sys.executable, "-m", "tests.run", "-n", "0", *again.nodes])  # noqa: S603 - our own command
        ended = ended or alone
    return int(ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

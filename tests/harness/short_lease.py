"""The gateway's application with a short lease: a freeze of a few seconds is longer than it.

Served by uvicorn as `tests.harness.short_lease:application`; the variables say how.
"""

import os
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from tenants.money.types import Charges

if TYPE_CHECKING:
    from llm_gateway.service.runtime import Runtime
    from mobius.asgi import Receive, Scope, Send

LEASE, ORPHAN, MUTANT = "TEST_LEASE_S", "TEST_ORPHAN_CHARGE", "TEST_MUTANT"


async def application(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """Serve as ever; whoever comes first opens the runtime."""
    from mobius import asgi  # noqa: PLC0415 - it sets Django up, which a test has done already

    await _open()
    await asgi.application(scope, receive, send)


async def _open() -> None:
    from llm_gateway.service import process  # noqa: PLC0415 - needs Django
    from tests.harness.mutants import become  # noqa: PLC0415 - likewise

    if mutant := os.environ[MUTANT]:
        become(mutant)
    await process.opened(_runtime)


def _runtime() -> "Runtime":
    from llm_gateway.service.runtime import Runtime  # noqa: PLC0415 - needs Django
    from tenants.money.from_settings import make_ledger  # noqa: PLC0415 - likewise

    charge = cast("Literal['hold', 'input']", os.environ[ORPHAN])
    return Runtime(partial(make_ledger, float(os.environ[LEASE]), Charges(orphan=charge)))

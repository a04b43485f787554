"""Set up the gateways that the browser's tests look at: with a past and a present."""

import threading
from contextlib import suppress
from http.client import HTTPException

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import key, model, tenant
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, manage
from tests.harness.together import until

_SLOW, _KEY = "snail", canary("snails-key")
_PAST_WITHIN_S, _BEGUN_WITHIN_S = 900, 60


def give_past(gateway: GatewayProcess, days: int, per_day: int) -> None:
    """Write days of traffic through the ledger, of a gateway that does not serve yet."""
    told = ("demo", "--history", str(days), "--per-day", str(per_day))
    run = manage(gateway.output, gateway.environment, *told, timeout_s=_PAST_WITHIN_S)
    assert run.code == 0, run.stderr


def give_present(gateway: GatewayProcess) -> None:
    """Serve, with one answer on its way that outlasts every test."""
    words = " ".join(["slowly"] * 1000)
    played = {"word_delay": 5, "answer": words}
    gateway.apply(
        {
            "version": 1,
            "providers": [{"name": _SLOW, "kind": "mock", "mock": played}],
            "models": [model(_SLOW, _SLOW)],
            "tenants": [tenant("hooli", keys=[key(value=_KEY)], margin="0.1")],
        }
    )
    gateway.serve()
    threading.Thread(target=_ask, args=(gateway.url,), daemon=True).start()
    books = Books(gateway)
    until(lambda: bool(books.holds()), _BEGUN_WITHIN_S)


def _ask(url: str) -> None:
    with suppress(HTTPException, OSError):  # the gateway is killed while it answers
        OPENAI.ask(url, _SLOW, stream=True, key=_KEY)

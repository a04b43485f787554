"""From a soft threshold to the receiver, through the console's sinks, on both databases."""

import base64
import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import Any
from urllib.request import Request, urlopen

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from typing_extensions import override

from tenants.alerts.models import AlertDelivery, AlertSink
from tenants.models import AuditEvent, Budget, Tenant
from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import API_KEY, budget, configuration, model, nano_prices, tenant
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess
from tests.harness.processes import Process, unused
from tests.harness.together import until
from tests.upstream.client import Upstream

MODELS = [model("alpha", price=("0", "4.00"))]
COST_USD = 8 * 4.00 / 10**6  # of an answer nobody scripted
SECRET = canary("webhook-secret")
PATIENCE_S = 60


@dataclass
class Receiver:
    """Somebody else's server: keeps what it gets and answers as it is told."""

    url: str
    got: Queue[tuple[dict[str, str], bytes]] = field(default_factory=Queue)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(found.statuses.pop(0) if found.statuses else 204)
            self.end_headers()
            found.got.put(({name.lower(): value for name, value in self.headers.items()}, body))

        @override
        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}/alerts")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


SEND_AGAIN = """
from django.conf import settings
from django.utils import timezone
from mobius.celery import app
from tenants.alerts.models import AlertDelivery
AlertDelivery.objects.update(next_at=timezone.now())
if settings.REDIS_URL:
    app.send_task("tenants.deliver_alerts")
"""


@contextmanager
def background(gateway: GatewayProcess) -> Iterator[None]:
    """Have the background's work done: by Celery where there is a broker, else by the server."""
    if not gateway.environment["REDIS_URL"]:
        yield
        return
    worker = Process(
        [
            *(sys.executable, "-m", "celery", "--app", "mobius.celery", "worker", "--beat"),
            *("--pool", "solo", "--schedule", str(gateway.home / "beat")),
        ],
        unused(gateway.output, "celery"),
        gateway.environment,
    )
    try:
        yield
    finally:
        worker.kill9()


MAKE_SINK = """
from tenants.alerts.models import AlertSink
sink = AlertSink.objects.create(
    name="pager", kind="webhook", address={url!r}, allow_private_network=True
)
sink.put_secret({secret!r})
"""


def ask(gateway: GatewayProcess) -> int:
    return OPENAI.ask(gateway.url, "alpha", stream=False).status


def serve(gateway: GatewayProcess, upstream: Upstream, fitting: int, **fields: Any) -> None:
    rule = budget(f"{fitting * COST_USD:.6f}", **fields)
    upstream.prices(**nano_prices(MODELS))
    gateway.apply(
        configuration(upstream.base_url, models=MODELS, routes=[], tenants=[tenant(budgets=[rule])])
    )
    gateway.serve()


def test_a_threshold_is_told_once_with_a_signature(
    gateway: GatewayProcess, upstream: Upstream, receiver: Receiver
) -> None:
    serve(gateway, upstream, fitting=10, soft=[0.2])
    gateway.managed("shell", "-c", MAKE_SINK.format(url=receiver.url, secret=SECRET))
    receiver.statuses = [500]
    assert ask(gateway) == 200
    with background(gateway):
        assert [ask(gateway) for _ in range(3)] == [200] * 3
        first, body = receiver.got.get(timeout=PATIENCE_S)
        # Its pause, of which the unit tests know, is over at once, and so is the scheduler's.
        until(lambda: "500" in refusal(gateway), PATIENCE_S)
        gateway.managed("shell", "-c", SEND_AGAIN)
        second, again = receiver.got.get(timeout=PATIENCE_S)
    message = json.loads(body)
    assert (message["type"], message["data"]["threshold"]) == ("budget.threshold", 0.2)
    assert (message["data"]["tenant"], message["data"]["budget"]) == ("acme", "total")
    # It was refused once, and came again as the same message.
    assert body == again
    assert first["webhook-id"] == second["webhook-id"] == message["id"]
    for headers in (first, second):
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert receiver.got.empty()
    books = Books(gateway)
    assert len(books.rows("ledger_alert")) == len(books.rows("tenants_alertdelivery")) == 1


def refusal(gateway: GatewayProcess) -> str:
    (delivery,) = Books(gateway).rows("tenants_alertdelivery")
    return str(delivery["error"])


def me(gateway: GatewayProcess) -> dict[str, Any]:
    request = Request(  # noqa: S310 - our own server
        f"{gateway.url}/api/v1/me", headers={"authorization": f"Bearer {API_KEY}"}
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        found: list[dict[str, Any]] = json.load(answer)["budgets"]
    return found[0]


def test_a_raise_is_in_force_on_the_next_request(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    serve(gateway, upstream, fitting=2)
    assert [ask(gateway) for _ in range(3)] == [200, 200, 402]
    end = (timezone.now() + timedelta(hours=1)).isoformat()
    gateway.managed("raise_budget", "acme/total", f"{COST_USD:.6f}", "--until", end)
    shown = me(gateway)
    assert float(shown["limit"]) == pytest.approx(3 * COST_USD)
    assert float(shown["remaining"]) == pytest.approx(COST_USD)
    assert [ask(gateway) for _ in range(2)] == [200, 402]
    gateway.managed("raise_budget", "acme/total", "0", "--until", end)
    assert float(me(gateway)["limit"]) == pytest.approx(2 * COST_USD)
    assert Books(gateway).audit().ok


# --- the console ---------------------------------------------------------------------------------


@pytest.fixture
def console(client: Client, db: None) -> Client:
    del db
    client.force_login(User.objects.create_superuser("operator"))
    return client


def sink_form(**fields: str) -> dict[str, str]:
    return {
        "name": "pager",
        "kind": "webhook",
        "address": "https://hooks.acme.test/in",
        "enabled": "on",
        "secret": SECRET,
        **fields,
    }


ADD = "/admin/tenants/alertsink/add/"


def test_a_sinks_secret_goes_in_and_never_comes_out(console: Client) -> None:
    assert console.post(ADD, sink_form()).status_code == HTTPStatus.FOUND
    sink = AlertSink.objects.get()
    assert sink.secret() == SECRET
    page = console.get(f"/admin/tenants/alertsink/{sink.pk}/change/").content.decode()
    assert SECRET not in page
    assert SECRET not in str(list(AuditEvent.objects.values()))
    # Saved again without one it keeps what it has; moved it needs it anew.
    change = f"/admin/tenants/alertsink/{sink.pk}/change/"
    assert console.post(change, sink_form(secret="")).status_code == HTTPStatus.FOUND
    sink.refresh_from_db()
    assert sink.secret() == SECRET
    moved = console.post(change, sink_form(secret="", address="https://other.test/"))
    assert "needs a secret" in moved.content.decode()


def test_of_a_slack_url_only_the_origin_is_shown(console: Client) -> None:
    path = f"/services/T0/B0/{canary('slack')}"
    form = sink_form(kind="slack", address=f"https://hooks.slack.test{path}", secret="")
    assert console.post(ADD, form).status_code == HTTPStatus.FOUND
    sink = AlertSink.objects.get()
    assert (sink.address, sink.secret()) == ("https://hooks.slack.test", path)
    page = console.get(f"/admin/tenants/alertsink/{sink.pk}/change/").content.decode()
    assert path not in page
    assert path not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"secret": "short"}, "20 or more characters"),
        ({"secret": ""}, "needs a secret"),
        ({"kind": "slack", "address": "https://hooks.slack.test", "secret": ""}, "whole URL"),
        ({"address": "ftp://hooks.acme.test"}, "https://host/path"),
        ({"address": "https://user:pass@hooks.acme.test/"}, "user name"),
        ({"kind": "mail", "address": "nobody"}, "valid email"),
    ],
)
def test_what_cannot_be_a_sink_is_refused(
    console: Client, fields: dict[str, str], why: str
) -> None:
    assert why in console.post(ADD, sink_form(**fields)).content.decode()
    assert not AlertSink.objects.exists()


def test_the_test_button_sends_on_post_alone_and_tells_what_came_of_it(
    console: Client, receiver: Receiver
) -> None:
    console.post(ADD, sink_form(address=receiver.url, allow_private_network="on"))
    page = f"/admin/tenants/alertsink/{AlertSink.objects.get().pk}/send_test/"
    console.get(page)
    assert receiver.got.empty()
    assert "took the test" in console.post(page, follow=True).content.decode()
    headers, body = receiver.got.get(timeout=PATIENCE_S)
    assert json.loads(body)["type"] == "test"
    assert "webhook-signature" in headers
    receiver.statuses = [410]
    assert "The address answered 410" in console.post(page, follow=True).content.decode()
    assert [one.state for one in AlertDelivery.objects.order_by("id")] == ["sent", "given up"]
    listed = console.get("/admin/tenants/alertdelivery/").content.decode()
    assert "The address answered 410" in listed


def test_an_inner_address_is_not_called_from_the_console(
    console: Client, receiver: Receiver
) -> None:
    console.post(ADD, sink_form(address=receiver.url))
    page = f"/admin/tenants/alertsink/{AlertSink.objects.get().pk}/send_test/"
    assert "allow_private_network" in console.post(page, follow=True).content.decode()
    assert receiver.got.empty()


def test_a_raise_from_the_console_is_audited_and_shown(console: Client) -> None:
    acme = Tenant.objects.create(name="acme")
    row = Budget.all_tenants_unsafe.create(tenant=acme, name="monthly", limit_nano=10**10)
    page = f"/admin/tenants/budget/{row.pk}/raise_limit/"
    assert "datetime-local" in console.get(page).content.decode()
    past = console.post(page, {"amount": "5", "until": "2020-01-01T00:00"}).content.decode()
    assert "lie ahead" in past
    end = timezone.now() + timedelta(days=1)
    console.post(page, {"amount": "5", "until": f"{end:%Y-%m-%dT%H:%M}"})
    row.refresh_from_db()
    assert row.raise_nano == 5 * 10**9
    assert AuditEvent.objects.get().action == "raised"
    assert (
        f"$10.00 + $5.00 until {end:%Y-%m-%d}"
        in console.get("/admin/tenants/budget/").content.decode()
    )

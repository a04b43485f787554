"""Try every field that holds a URL with every form of one, as whoever may write to it.

Runs inside of an installation: `manage.py shell -c "from tests.harness import urls_tried; …"`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from django.core.exceptions import ValidationError

from llm_gateway import vault
from llm_gateway.errors import GatewayError
from llm_gateway.models import Provider, ProviderKey
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.service.provider_control import discover
from llm_gateway.service.webhooks import post_webhook
from tenants.alerts.delivery import try_sink
from tenants.alerts.models import AlertSink

PROBE = "probe-{}"


def main(forms: Sequence[str]) -> None:
    """Print how often something was tried, and what was not refused."""
    tried, taken = 0, []
    for number, form in enumerate(forms):
        for name, attempt in attempts(number, form):
            tried += 1
            if not _refused(attempt):
                taken.append(f"{name}: {form}")
    Provider.objects.get(name="openai").save()  # tells the running process that rows changed
    sys.stdout.write(json.dumps({"tried": tried, "taken": taken}) + "\n")


def attempts(number: int, form: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a form is tried with; each has to be refused."""
    for kind in sorted(CATALOG.keys() - {"mock"}):
        yield f"create {kind}", Provider(name="new", kind=kind, base_url=form or "x").full_clean
    moved = Provider.objects.get(name=PROBE.format(number))
    moved.base_url = form or "x"
    yield "update", moved.full_clean
    region = Provider(name="new", kind="bedrock", options={"region": form})
    yield "region", region.full_clean
    # Past all checks, as if by SQL: what is saved is judged again when it is used.
    Provider.objects.filter(pk=moved.pk).update(base_url=form or "x")
    saved = Provider.objects.get(pk=moved.pk)
    key = ProviderKey.objects.get(provider=saved)
    yield "list models", lambda: discover(saved, key)
    yield "list models without a key", lambda: discover(saved, None)
    for kind in (AlertSink.Kind.WEBHOOK, AlertSink.Kind.SLACK):
        sink = AlertSink(name=f"{kind}-{number}", kind=kind, address=form)
        yield f"post to {kind}", lambda sink=sink: _post(sink)  # type: ignore[misc]


def _post(sink: AlertSink) -> None:
    sink.save()
    sink.put_secret("/services/T/B/secret-enough-for-this")
    delivery = try_sink(sink, post_webhook, lambda: datetime.now(UTC))
    if delivery.sent_at is None:
        raise ValidationError(delivery.error)


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (AddressError, GatewayError, ValidationError, ValueError):
        return True
    return False


def seal_probes(count: int, secret: str) -> None:
    """Give each probe a key, for the good address that it still has."""
    for number in range(count):
        key, _ = ProviderKey.objects.get_or_create(
            provider=Provider.objects.get(name=PROBE.format(number)), name="main"
        )
        vault.put(key, secret)

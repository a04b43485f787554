"""Show what a request said and was told, to whom its tenant lets read it."""

import json

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from llm_gateway.insight import payloads
from llm_gateway.models import RequestLog
from tenants.models import Tenant
from tenants.seats import Seat
from tenants.secrets import SecretError

NOTHING = (
    "Nothing is kept of it: the tenant's setting “log payloads” decides, for requests to come."
)
NOT_YOURS = "What people and models said is for admins of the tenant."
NOT_OPERATORS = "Operators read it only where the tenant has switched “operators read payloads” on."
SHUT = "It was sealed with a master key that is gone."


def contents(seat: Seat | None, log: RequestLog) -> SafeString | str:
    """Return the payload of a request, or why there is none to see; a look is in the audit."""
    tenant = Tenant.objects.filter(pk=log.tenant_id or 0).first()
    if seat is None or tenant is None:
        return NOTHING
    if not payloads.may_read(seat, tenant):
        return NOT_OPERATORS if seat.operator else NOT_YOURS
    try:
        found = payloads.read(tenant.pk, log.pk, seat.person)
    except SecretError:
        return SHUT
    return NOTHING if found is None else _shown(found, log)


def _shown(found: payloads.Payload, log: RequestLog) -> SafeString:
    sides = [("Request", found.request), *([("Answer", found.answer)] if found.answer else [])]
    replay = f"{reverse('admin:playground')}?request={log.pk}"
    return format_html(
        '<p>Kept {}. <a class="text-link" href="{}">Replay in playground</a></p>{}',
        "in full" if found.level == "full" else "redacted",
        replay,
        format_html_join(
            "", '<h3>{}</h3><pre class="said">{}</pre>', (_side(*one) for one in sides)
        ),
    )


def _side(name: str, side: payloads.Side) -> tuple[str, str]:
    return f"{name}, {side.size:,} bytes{', cut' if side.cut else ''}", _text(side.body)


def _text(body: object) -> str:
    return body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)

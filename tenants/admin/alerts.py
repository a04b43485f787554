"""Manage where alerts go, try it, and show what was told to whom."""

from typing import Any, ClassVar
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminPasswordWidget

from tenants.admin.base import ConsoleAdmin, ReadOnlyAdmin, page_action, record
from tenants.admin.columns import NOTHING, ago, column
from tenants.admin.ledger import field_of
from tenants.alerts.delivery import try_sink
from tenants.alerts.messages import text_of
from tenants.alerts.models import LEAST_SECRET, AlertDelivery, AlertSink, origin_of
from tenants.alerts.sending import Letter
from tenants.models import Budget, Tenant
from tenants.money.models import Alert

STATES = {"sent": "success", "waiting": "warning", "given up": "danger"}
ON = {"on": "success", "off": "danger"}


class AlertSinkForm(ModelForm[AlertSink]):
    """A sink; what is secret of it goes in and never comes out."""

    secret = forms.CharField(
        required=False,
        strip=True,
        label="Signing secret of a webhook",
        widget=UnfoldAdminPasswordWidget({"autocomplete": "new-password"}),
        help_text="20 or more characters, or whsec_ and base64. Empty: as it is.",
    )

    class Meta:
        model = AlertSink
        fields = ("tenant", "name", "kind", "address", "enabled", "allow_private_network")

    @override
    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        check = {AlertSink.Kind.SLACK: self._slack, AlertSink.Kind.WEBHOOK: self._webhook}
        if values.get("address") and (checked := check.get(values.get("kind", ""))):
            checked(values)
        return values

    def _slack(self, values: dict[str, Any]) -> None:
        """Take the path, which is the secret, out of the address."""
        path = urlsplit(values["address"]).path
        if len(path) > 1:
            values["secret"] = path
            values["address"] = origin_of(values["address"])
        elif not self._kept(values):
            self.add_error("address", "Paste the whole URL, as Slack shows it.")

    def _webhook(self, values: dict[str, Any]) -> None:
        secret = values.get("secret", "")
        if not secret and not self._kept(values):
            self.add_error("secret", "A webhook needs a secret; it was given for this address.")
        elif secret and len(secret) < LEAST_SECRET:
            self.add_error("secret", f"Give {LEAST_SECRET} or more characters.")

    def _kept(self, values: dict[str, Any]) -> bool:
        """Say whether the row has a secret already that stays with this address."""
        return (
            self.instance.sealed is not None
            and self.instance.origin == origin_of(values["address"])
            and self.initial.get("kind") == values["kind"]
        )


class AlertSinkAdmin(ConsoleAdmin):
    """Sinks. Who registers this hands in what may open sockets."""

    form = AlertSinkForm
    list_display = ("name", "whose", "kind", "address", "state", "last")
    list_filter = (("tenant", AutocompleteSelectFilter), "kind", "enabled")
    list_select_related = ("tenant",)
    search_fields = ("name", "address", "tenant__name")
    autocomplete_fields = ("tenant",)
    actions_detail = ("send_test",)
    fieldsets: ClassVar[tuple[Any, ...]] = (
        (None, {"fields": ("name", "kind", "address", "secret", "enabled")}),
        ("Whose alerts", {"fields": ("tenant",)}),
        ("Network", {"fields": ("allow_private_network",)}),
    )

    def post(self, letter: Letter) -> int:
        """Send a letter; see `tenants.alerts.sending.Post`."""
        raise NotImplementedError

    @override
    def saved_row(self, obj: AlertSink, form: Any) -> None:
        if secret := form.cleaned_data.get("secret"):
            obj.put_secret(secret)

    @page_action("Send a test", icon="send", variant=ActionVariant.PRIMARY)
    def send_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        sink = self.get_object(request, object_id)
        if sink is None:
            return self.back_to_list()
        if request.method != "POST":
            return self.confirm(
                request,
                sink,
                title=f"Try {sink}",
                text="A message that says it is a test is sent once, now.",
                button="Send it",
            )
        delivery = try_sink(sink, self.post, timezone.now)
        record(request, "tried", sink)
        if delivery.sent_at:
            messages.success(request, f"{sink} took the test.")
        else:
            messages.error(request, f"{sink} did not take it. {delivery.error}")
        return self.back_to(sink)

    @column("alerts of", order="tenant__name")
    def whose(self, sink: AlertSink) -> str:
        return sink.tenant.name if sink.tenant else "every tenant"

    @column("state", order="enabled", labels=ON)
    def state(self, sink: AlertSink) -> str:
        return "on" if sink.enabled else "off"

    @column("last delivery", labels=STATES)
    def last(self, sink: Any) -> str:
        newest = sink.deliveries.first()
        return newest.state if newest else ""


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    """What was sent where, how often it was tried and what went wrong last."""

    list_display = ("when", "sink", "says", "ended", "attempts", "next_try", "error")
    list_filter = (("sink", AutocompleteSelectFilter),)
    list_select_related = ("sink__tenant",)
    search_fields = ("sink__name", "error")
    fields = ("id", "sink", "says", "ended", "attempts", "next_try", "sent", "error", "when")
    readonly_fields = fields

    @column("made", order="created_at")
    def when(self, delivery: AlertDelivery) -> str:
        return ago(delivery.created_at)

    @column("message")
    def says(self, delivery: AlertDelivery) -> str:
        return text_of(delivery.message)

    @column("state", labels=STATES)
    def ended(self, delivery: AlertDelivery) -> str:
        return delivery.state

    @column("next try", order="next_at")
    def next_try(self, delivery: AlertDelivery) -> str:
        return ago(delivery.next_at)

    @column("sent", order="sent_at")
    def sent(self, delivery: AlertDelivery) -> str:
        return ago(delivery.sent_at)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Soft thresholds that spend reached, whether anybody else is told or not."""

    tenant_path = "bucket__tenant_id"
    list_display = ("when", "whose", "budget", "subject", "threshold", "told")
    ordering = ("-id",)
    fields = ("when", "whose", "budget", "subject", "threshold", "told")
    readonly_fields = fields

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = (
            super()
            .get_queryset(request)
            .select_related("bucket")
            .prefetch_related("deliveries")
            .annotate(
                budget_label=field_of(Budget.all_tenants_unsafe, "bucket__budget_id"),
                tenant_label=field_of(Tenant.objects, "bucket__tenant_id"),
            )
        )
        return rows

    @column("when", order="created_at")
    def when(self, alert: Alert) -> str:
        return ago(alert.created_at)

    @column("tenant")
    def whose(self, alert: Any) -> str:
        return alert.tenant_label or f"gone (id {alert.bucket.tenant_id})"

    @column("budget")
    def budget(self, alert: Any) -> str:
        return alert.budget_label or f"gone (id {alert.bucket.budget_id})"

    @column("subject")
    def subject(self, alert: Alert) -> str:
        return alert.bucket.subject or NOTHING

    @column("reached", order="threshold_ppm")
    def threshold(self, alert: Alert) -> str:
        return f"{alert.threshold_ppm / 10_000:g} %"

    @column("told")
    def told(self, alert: Any) -> str:
        states = [delivery.state for delivery in alert.deliveries.all()]
        if not states:
            return "here alone" if alert.sent_at else "soon"
        return f"{states.count('sent')} of {len(states)}"

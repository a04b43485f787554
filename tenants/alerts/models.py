"""Keep where alerts go and what became of each delivery.

A delivery is one message to one sink: made once, tried until it was taken, with an id that stays
the same so that a receiver can tell a repeat.
"""

from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from typing_extensions import override

from tenants import secrets
from tenants.ids import new_id
from tenants.models import Tenant, name_field
from tenants.money.models import Alert, LedgerAlarm

LEAST_SECRET = 20


class AlertSink(models.Model):
    """Where the alerts of one tenant go, or those of every tenant where it names none.

    `address` holds mail addresses or a URL. A Slack URL is a secret itself: `put_secret` keeps its
    path sealed and `address` its origin. A webhook's secret signs its messages.
    """

    class Kind(models.TextChoices):
        MAIL = "mail"
        WEBHOOK = "webhook"
        SLACK = "slack", "Slack or compatible"

    tenant = models.ForeignKey(
        Tenant,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: the alerts of every tenant.",
    )
    name = name_field()
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(
        max_length=2048, help_text="Mail addresses with commas between them, or a URL."
    )
    enabled = models.BooleanField(default=True)
    allow_private_network = models.BooleanField(
        default=False, help_text="Lets the URL lead into your own network, also without TLS."
    )
    sealed = models.BinaryField(null=True, editable=False)
    origin = models.CharField(max_length=300, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("tenant", "name")
        verbose_name = "alert sink"
        constraints = [
            models.UniqueConstraint(fields=("tenant", "name"), name="alert_sink_name"),
            models.UniqueConstraint(
                fields=("name",),
                condition=models.Q(tenant=None),
                name="alert_sink_of_every_tenant",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.tenant or 'every tenant'}/{self.name}"

    @override
    def save(self, *args: object, **kwargs: object) -> None:
        """Save the row; a secret that was given for another scheme, host or port is wiped."""
        if self.sealed is not None and self.origin != origin_of(self.address):
            self.sealed, self.origin = None, ""
        super().save(*args, **kwargs)  # type: ignore[arg-type] # handed on as given

    @override
    def clean(self) -> None:
        if self.kind == self.Kind.MAIL:
            if not self.mail_addresses:
                raise ValidationError({"address": "Name a mail address."})
            for address in self.mail_addresses:
                validate_email(address)
        else:
            check_url(self.address)

    @property
    def mail_addresses(self) -> list[str]:
        return [part.strip() for part in self.address.split(",") if part.strip()]

    def put_secret(self, secret: str) -> None:
        """Seal a secret into a row that is saved already, since it is bound to its id."""
        self.origin = origin_of(self.address)
        self.sealed = secrets.seal(secret.encode(), *self._bound())
        self.save()

    def secret(self) -> str:
        """Return the secret. Raises SecretError where there is none, or it was for elsewhere."""
        if self.sealed is None:
            raise secrets.SecretError("the sink has no secret; enter it again")
        return secrets.unseal(bytes(self.sealed), *self._bound()).decode()

    def rewrap(self) -> None:
        """Wrap the secret with the first master key. Raises SecretError."""
        if self.sealed is not None:
            self.sealed = secrets.rewrap(bytes(self.sealed), *self._bound())
            self.save(update_fields=["sealed"])

    def _bound(self) -> tuple[str, str, int, str]:
        return str(self.tenant_id or "-"), "alert_sink", self.pk, origin_of(self.address)


class AlertDelivery(models.Model):
    """One message on its way to one sink. Without an alert or an alarm it is a test."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    alert = models.ForeignKey(Alert, models.CASCADE, null=True, related_name="deliveries")
    alarm = models.ForeignKey(LedgerAlarm, models.CASCADE, null=True, related_name="deliveries")
    sink = models.ForeignKey(AlertSink, models.CASCADE, related_name="deliveries")
    message = models.JSONField()
    created_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(null=True, db_index=True)  # None: nothing is left to do
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "alert deliveries"
        constraints = [
            models.UniqueConstraint(fields=("alert", "sink"), name="alert_delivery_once"),
            models.UniqueConstraint(fields=("alarm", "sink"), name="alarm_delivery_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.sink} {self.pk}"

    @property
    def is_test(self) -> bool:
        return self.alert_id is None and self.alarm_id is None

    @property
    def state(self) -> str:
        if self.sent_at:
            return "sent"
        return "waiting" if self.next_at else "given up"


def check_url(address: str) -> None:
    """Raise ValidationError for what cannot be a webhook's URL; where it leads is judged later."""
    parts = urlsplit(address)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValidationError({"address": "The URL has to look like https://host/path."})
    if parts.username or parts.password or parts.fragment:
        raise ValidationError({"address": "The URL must not carry a user name or a fragment."})


def origin_of(address: str) -> str:
    """Return scheme, host and port of a URL as written, in lower case; '' for mail addresses."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""

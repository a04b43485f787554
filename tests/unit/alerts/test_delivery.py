"""An alert is told once to each sink, tried until it was taken, and never by two at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command

from tenants.alerts.delivery import CLAIM, PAUSES, deliver, spread, try_sink
from tenants.alerts.messages import text_of
from tenants.alerts.models import AlertDelivery, AlertSink
from tenants.alerts.sending import Letter, NotDeliveredError
from tenants.models import Budget, Tenant
from tenants.money.models import Alert, Bucket, LedgerAlarm

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = "CANARY-signing-secret-0123456789"


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


class Door:
    """Takes letters in and answers what it was told; an exception is raised."""

    def __init__(self, *answers: int | NotDeliveredError) -> None:
        self.answers = list(answers)
        self.letters: list[Letter] = []

    def __call__(self, letter: Letter) -> int:
        self.letters.append(letter)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, NotDeliveredError):
            raise answer
        return answer


@pytest.fixture
def tenant() -> Tenant:
    return Tenant.objects.create(name="acme")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def alert(tenant: Tenant, ppm: int = 800_000) -> Alert:
    budget, _ = Budget.all_tenants_unsafe.get_or_create(
        tenant=tenant, name="monthly", defaults={"limit_nano": 10**10}
    )
    bucket, _ = Bucket.all_tenants_unsafe.get_or_create(
        tenant=tenant,
        budget_id=budget.pk,
        period_key="month UTC 2026-11-01T00:00:00Z",
        defaults={"starts_at": datetime(2026, 11, 1, tzinfo=UTC), "used_nano": 9 * 10**9},
    )
    return Alert.objects.create(bucket=bucket, threshold_ppm=ppm, created_at=START)


def sink(tenant: Tenant | None, name: str = "pager", **fields: Any) -> AlertSink:
    given = {"kind": "webhook", "address": "https://hooks.acme.test/in?to=1", **fields}
    made = AlertSink.objects.create(tenant=tenant, name=name, **given)
    if made.kind != "mail":
        made.put_secret("/services/T/B/CANARY" if made.kind == "slack" else SECRET)
    return made


def test_an_alert_goes_once_to_every_sink_that_is_meant(tenant: Tenant, clock: Clock) -> None:
    other = Tenant.objects.create(name="globex")
    mine, everyones = sink(tenant), sink(None)
    sink(other)
    sink(tenant, "off", enabled=False)
    alert(tenant)
    door = Door()
    assert deliver(door, clock) == 2
    assert deliver(door, clock) == 0
    told = AlertDelivery.objects.all()
    assert {delivery.sink_id for delivery in told} == {mine.pk, everyones.pk}
    assert {delivery.state for delivery in told} == {"sent"}
    assert Alert.objects.get().sent_at == START


def test_each_threshold_is_an_alert_of_its_own(tenant: Tenant, clock: Clock) -> None:
    sink(tenant)
    alert(tenant, 500_000)
    alert(tenant, 800_000)
    assert deliver(Door(), clock) == 2


def test_an_alert_that_was_spread_is_not_spread_again(tenant: Tenant) -> None:
    sink(tenant)
    alert(tenant)
    assert [spread(START), spread(START)] == [1, 0]


def test_without_a_sink_it_stays_in_the_console(tenant: Tenant, clock: Clock) -> None:
    alert(tenant)
    assert deliver(Door(), clock) == 0
    sink(tenant)
    assert deliver(Door(), clock) == 0  # nobody is told of last month's alerts


def test_what_is_refused_comes_again_with_the_same_id(tenant: Tenant, clock: Clock) -> None:
    sink(tenant)
    alert(tenant)
    door = Door(500, NotDeliveredError("Nobody is there."), 200)
    for error, wait in (("The address answered 500.", 0), ("Nobody is there.", 1), ("", 2)):
        assert deliver(door, clock) == 1
        assert AlertDelivery.objects.get().error == error
        assert deliver(door, clock) == 0  # not before its time
        clock.at += PAUSES[wait]
    delivery = AlertDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("sent", 3)
    assert len({dict(letter.headers)["webhook-id"] for letter in door.letters}) == 1
    assert len({letter.body for letter in door.letters}) == 1
    assert len({dict(letter.headers)["webhook-timestamp"] for letter in door.letters}) == 3


def test_after_the_last_pause_it_is_given_up(tenant: Tenant, clock: Clock) -> None:
    sink(tenant)
    alert(tenant)
    door = Door(*[503] * 20)
    for pause in (*PAUSES, timedelta(days=30)):
        assert deliver(door, clock) == 1
        clock.at += pause
    assert deliver(door, clock) == 0
    assert AlertDelivery.objects.get().state == "given up"


def test_two_who_see_the_same_delivery_send_it_once(tenant: Tenant, clock: Clock) -> None:
    sink(tenant)
    alert(tenant)
    second = Door()

    def meanwhile(_letter: Letter) -> int:
        assert deliver(second, clock) == 0
        return 200

    assert deliver(meanwhile, clock) == 1
    assert second.letters == []


def test_what_a_dead_process_had_claimed_is_sent_by_another(tenant: Tenant, clock: Clock) -> None:
    class Killed(BaseException):
        pass

    def die(_letter: Letter) -> int:
        raise Killed

    sink(tenant)
    alert(tenant)
    with pytest.raises(Killed):
        deliver(die, clock)
    door = Door()
    assert deliver(door, clock) == 0
    clock.at += CLAIM
    assert deliver(door, clock) == 1
    assert AlertDelivery.objects.get().state == "sent"


def test_a_sink_switched_off_keeps_its_messages_back(tenant: Tenant, clock: Clock) -> None:
    made = sink(tenant)
    alert(tenant)
    spread(START)
    AlertSink.objects.update(enabled=False)
    assert deliver(Door(), clock) == 0
    AlertSink.objects.update(enabled=True)
    assert deliver(Door(), clock) == 1
    assert made.deliveries.get().state == "sent"


def test_a_webhook_is_signed_and_goes_to_its_path(tenant: Tenant, clock: Clock) -> None:
    sink(tenant)
    alert(tenant)
    door = Door()
    deliver(door, clock)
    (letter,) = door.letters
    assert (letter.origin, letter.path) == ("https://hooks.acme.test", "/in?to=1")
    assert dict(letter.headers).keys() == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    assert SECRET.encode() not in letter.body


def test_slack_gets_text_at_its_sealed_path(tenant: Tenant, clock: Clock) -> None:
    Tenant.objects.update(name="<!channel>&")
    made = sink(tenant, kind="slack", address="https://hooks.slack.test")
    alert(tenant)
    door = Door()
    deliver(door, clock)
    (letter,) = door.letters
    assert letter.path == "/services/T/B/CANARY"
    assert b"&lt;!channel&gt;&amp;/monthly" in letter.body
    assert b"CANARY" not in bytes(made.sealed or b"")


def test_a_moved_sink_has_lost_its_secret(tenant: Tenant, clock: Clock) -> None:
    made = sink(tenant)
    made.address = "https://elsewhere.test/in"
    made.save()
    door = Door()
    assert "enter it again" in try_sink(made, door, clock).error
    assert door.letters == []


def test_ciphertext_copied_to_another_sink_does_not_open(tenant: Tenant, clock: Clock) -> None:
    first, second = sink(tenant), sink(tenant, "second")
    AlertSink.objects.filter(pk=second.pk).update(sealed=first.sealed)
    second.refresh_from_db()
    assert "does not open" in try_sink(second, Door(), clock).error


def test_rotating_the_master_key_wraps_sinks_too(tenant: Tenant) -> None:
    made = sink(tenant)
    before = bytes(made.sealed or b"")
    call_command("rotate_master_key")
    made.refresh_from_db()
    assert bytes(made.sealed or b"") != before
    assert made.secret() == SECRET


@pytest.fixture
def mail_is_set(settings: Any) -> None:
    settings.MAIL_IS_SET = True
    settings.DEFAULT_FROM_EMAIL = "mobius@acme.test"


@pytest.mark.usefixtures("mail_is_set")
def test_mail_goes_to_everyone_named(tenant: Tenant, clock: Clock) -> None:
    sink(tenant, kind="mail", address="a@acme.test, b@acme.test")
    Budget.all_tenants_unsafe.create(tenant=tenant, name="monthly\nBcc: x@y", limit_nano=10**10)
    alert(tenant)
    Bucket.all_tenants_unsafe.update(
        budget_id=Budget.all_tenants_unsafe.get(name__contains="Bcc").pk
    )
    deliver(Door(), clock)
    (letter,) = mail.outbox
    assert letter.to == ["a@acme.test", "b@acme.test"]
    assert "monthly Bcc: x@y" in letter.subject
    assert letter.extra_headers["Message-ID"] == f"<{AlertDelivery.objects.get().pk}@mobius>"


def test_without_a_mail_server_the_delivery_says_so(tenant: Tenant, clock: Clock) -> None:
    made = sink(tenant, kind="mail", address="a@acme.test")
    assert try_sink(made, Door(), clock).error == "EMAIL_URL is not set."


def test_a_test_is_tried_once(tenant: Tenant, clock: Clock) -> None:
    made = sink(tenant)
    failed = try_sink(made, Door(404), clock)
    assert (failed.state, failed.attempts) == ("given up", 1)
    assert failed.error == "The address answered 404."
    assert try_sink(made, Door(), clock).state == "sent"


def test_an_alarm_goes_to_the_same_sinks_and_is_tried_again(tenant: Tenant, clock: Clock) -> None:
    mine = sink(tenant)
    sink(Tenant.objects.create(name="globex"))
    alarm = LedgerAlarm.all_tenants_unsafe.create(
        tenant=tenant,
        kind="usage_invalid",
        model="alpha",
        day=START.date(),
        request_id="0197a000-0000-7000-8000-000000000001",
        attempt_no=2,
        said="The provider reported as usage: -1",
        created_at=START,
    )
    door = Door(500)
    assert deliver(door, clock) == 1
    clock.at += PAUSES[0]
    assert deliver(door, clock) == 1
    assert deliver(door, clock) == 0
    (told,) = AlertDelivery.objects.all()
    assert (told.alarm_id, told.sink_id, told.state) == (alarm.pk, mine.pk, "sent")
    assert told.message["type"] == "ledger.alarm"
    assert told.message["data"] == {
        "tenant": "acme",
        "kind": "usage_invalid",
        "model": "alpha",
        "request_id": alarm.request_id,
        "attempt": 2,
        "said": alarm.said,
    }
    assert "usage_invalid at alpha of acme" in text_of(told.message)

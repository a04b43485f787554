"""Attempts are counted in windows that begin with the first, and forgotten when these are over."""

from datetime import UTC, datetime, timedelta

import pytest

from tenants.signin.attempts import Attempts
from tenants.signin.models import SignInAttempt

pytestmark = pytest.mark.django_db

NOW, MINUTE = datetime(2026, 11, 20, 12, 0, tzinfo=UTC), timedelta(minutes=1)


def test_after_so_many_one_waits_for_the_end_of_the_window() -> None:
    attempts = Attempts("name", 2, MINUTE)
    assert [attempts.begin("ann", NOW) for _ in range(2)] == [0, 0]
    later = NOW + timedelta(seconds=20)
    assert attempts.begin("Ann", later) == 40
    assert attempts.begin("bob", later) == 0
    assert Attempts("address", 2, MINUTE).begin("ann", later) == 0
    assert attempts.begin("ann", NOW + MINUTE) == 0


def test_what_was_right_does_not_count() -> None:
    attempts = Attempts("name", 1, MINUTE)
    for _ in range(5):
        assert attempts.begin("ann", NOW) == 0
        attempts.forgive("ann")


def test_what_is_over_is_forgotten_and_nobody_is_named() -> None:
    attempts = Attempts("name", 1, MINUTE)
    for number in range(150):
        attempts.begin(f"a password typed for a name {number}", NOW)
    assert not SignInAttempt.objects.filter(who__contains="typed").exists()
    for _ in range(3):
        attempts.begin("ann", NOW + MINUTE)
    assert SignInAttempt.objects.count() == 1

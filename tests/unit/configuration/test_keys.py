"""An api key has 256 random bits, or what an operator may give; only its digest is kept."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tenants.auth import load_caller
from tenants.keys import KeyValueError, check_value, generate, issue, key_digest, pepper, rotate
from tenants.models import ApiKey, InstallSecret, Tenant

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_a_generated_key_has_its_shape_and_can_be_used() -> None:
    made = {generate() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert re.fullmatch(r"mob_[A-Za-z0-9_-]{43}", key)
        check_value(key)


@pytest.mark.parametrize(
    "value",
    [
        "too-short",
        "a" * 40,
        "wordwordwordwordword",
        "word-word-word-word-w",
        "k" * 513,
        "twenty characters and more",
        "zwanzig-zeichen-füüür-dich",
        "tab\tseparated-characters-x",
    ],
)
def test_a_value_that_is_no_key_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(KeyValueError) as raised:
        check_value(value)
    assert value not in str(raised.value)


@pytest.mark.parametrize("value", ["exactly-20-characte", "abcdefghij-abcdefghij"])
def test_twenty_characters_are_enough(value: str) -> None:
    check_value(value + "!")


@pytest.mark.django_db
def test_issuing_keeps_the_digest_and_a_few_characters() -> None:
    key = ApiKey(name="dev")
    value = issue(key)
    assert (key.digest, key.prefix) == (key_digest(value), value[:8])
    assert issue(key, "given-by-the-operator") == "given-by-the-operator"
    assert key.prefix == "give"
    assert value not in repr(vars(key))


@pytest.fixture
def key() -> ApiKey:
    return ApiKey(tenant=Tenant.objects.create(name="acme"), name="dev")


def ends(value: str) -> float | None:
    """Return when a value ends; it has to be one that is good."""
    caller = load_caller(key_digest(value))
    assert caller
    return caller.expires_at


@pytest.mark.django_db
def test_the_value_before_a_rotation_is_good_until_its_grace_ends(key: ApiKey) -> None:
    first = issue(key)
    second = rotate(key, grace_s=3600, now=NOW)
    key.save()
    grace_ends = NOW + timedelta(hours=1)
    assert (ends(first), ends(second)) == (grace_ends.timestamp(), None)
    key.expires_at = NOW + timedelta(minutes=1)
    key.save()
    assert ends(first) == ends(second) == key.expires_at.timestamp()

    third = rotate(key, grace_s=60, now=NOW)
    key.save()
    assert load_caller(key_digest(first)) is None
    key.revoked_at = NOW
    key.save()
    assert load_caller(key_digest(second)) is load_caller(key_digest(third)) is None


@pytest.mark.django_db
def test_without_a_grace_and_with_a_given_value_nothing_else_is_good(key: ApiKey) -> None:
    first = issue(key)
    second = rotate(key, grace_s=0, now=NOW)
    key.save()
    assert load_caller(key_digest(first)) is None
    rotate(key, grace_s=3600, now=NOW)
    issue(key, "given-by-the-operator")
    key.save()
    assert load_caller(key_digest(second)) is None


@pytest.mark.django_db
def test_the_pepper_is_made_once_and_lies_there_wrapped() -> None:
    first = pepper()
    assert pepper() == first
    assert len(first) == 32
    assert first not in bytes(InstallSecret.objects.get(name="pepper").sealed)

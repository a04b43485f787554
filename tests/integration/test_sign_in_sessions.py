"""A session ends when its time is over, by a clock that is an argument."""

from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client, RequestFactory

from tenants.models import Member, Tenant
from tenants.seats import seat_of_session
from tenants.signin import sessions

pytestmark = pytest.mark.django_db
BEGAN, DAY_S = 1_800_000_000.0, 86_400


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ann@acme.test", "ann@acme.test")


@pytest.fixture
def request_of(rf: RequestFactory, user: User) -> Any:
    request: Any = rf.get("/")
    request.session, request.user = SessionStore(), AnonymousUser()
    sessions.begin(request, user, factor="", now=BEGAN)
    return request


def test_a_week_is_the_longest(request_of: Any) -> None:
    sessions.check(request_of, BEGAN + 7 * DAY_S)
    assert request_of.user.is_authenticated
    sessions.check(request_of, BEGAN + 7 * DAY_S + 1)
    assert not request_of.user.is_authenticated


def test_being_used_moves_the_end_now_and_then(request_of: Any) -> None:
    request_of.session.modified = False
    sessions.check(request_of, BEGAN + sessions.TOUCH_S - 1)
    assert not request_of.session.modified
    sessions.check(request_of, BEGAN + sessions.TOUCH_S)
    assert request_of.session.modified
    assert request_of.session.get_expiry_age() == DAY_S / 2


def test_a_role_in_a_tenant_gives_a_new_id_too(request_of: Any, user: User) -> None:
    before = request_of.session.session_key
    acme = Tenant.objects.create(name="acme")
    Member.all_tenants_unsafe.create(tenant=acme, email=user.email, role="viewer", user=user)
    sessions.check(request_of, BEGAN + 1)
    assert request_of.user.is_authenticated
    assert request_of.session.session_key != before


def test_a_membership_that_waits_for_an_address_is_theirs_at_the_next_sign_in(
    request_of: Any, user: User
) -> None:
    acme = Tenant.objects.create(name="acme")
    waiting = Member.all_tenants_unsafe.create(tenant=acme, email="Ann@Acme.test", role="viewer")
    sessions.begin(request_of, user, factor="", now=BEGAN)
    waiting.refresh_from_db()
    assert waiting.user == user


def test_what_knows_the_session_alone_is_told_that_it_is_over(request_of: Any, user: User) -> None:
    assert sessions.counts(request_of.session, user, BEGAN + 7 * DAY_S)
    assert not sessions.counts(request_of.session, user, BEGAN + 7 * DAY_S + 1)
    sessions.end_all(user)
    assert not sessions.counts(request_of.session, user, BEGAN)
    assert seat_of_session(request_of.session) is None


def test_a_session_from_before_is_taken_over(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get("/sign-in/mine/").status_code == HTTPStatus.OK

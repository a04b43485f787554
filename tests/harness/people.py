"""Sign in as people do, in a browser of our own: by password and where due a second factor."""

import base64
import hashlib
import hmac
import json
import re
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import httpx2

from tests.harness.canary import canary
from tests.harness.gateway import GatewayProcess

PASSWORD = canary("operator-password")
SIGN_IN, SET_UP = "/sign-in/", "/sign-in/mine/second-factor/"
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_SECRET = re.compile(r"<code>([A-Z2-7]{32})</code>")
_CODE = re.compile(r"<li>([0-9a-f]{5}-[0-9a-f]{5})</li>")
_STEP_S = 30


_MAKE_MANY = """
import os
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
password = make_password(os.environ["NEW_PASSWORD"])
User.objects.bulk_create(
    User(username=name, password=password, is_staff=True, is_superuser=True)
    for name in os.environ["NEW_NAMES"].split()
)
"""


_JOIN = """
import os
from django.contrib.auth.models import User
from tenants.models import Member
for member in Member.all_tenants_unsafe.filter(user=None):
    member.user = User.objects.create_user(member.email, member.email, os.environ["NEW_PASSWORD"])
    member.save()
"""


def make_members(gateway: GatewayProcess) -> None:
    """Give every member of a tenant a user, named by their e-mail."""
    gateway.managed("shell", "-c", _JOIN, NEW_PASSWORD=PASSWORD)


def make_operator(gateway: GatewayProcess, name: str = "root") -> None:
    variables = {
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "DJANGO_SUPERUSER_USERNAME": name,
        "DJANGO_SUPERUSER_EMAIL": f"{name}@example.test",
    }
    gateway.managed("createsuperuser", "--noinput", **variables)


def make_operators(gateway: GatewayProcess, names: Iterable[str]) -> None:
    """Make many by one command, with one password and no address."""
    variables = {"NEW_PASSWORD": PASSWORD, "NEW_NAMES": " ".join(names)}
    gateway.managed("shell", "-c", _MAKE_MANY, **variables)


class Browser:
    """Keeps cookies, follows nothing by itself, and posts forms with the token of their page."""

    def __init__(self, url: str) -> None:
        # Certificates are read for half a second, and none is asked for here.
        self.client = httpx2.Client(base_url=url, timeout=20, verify=False)

    def get(self, path: str, **options: object) -> httpx2.Response:
        return self.client.get(path, **options)  # type: ignore[arg-type] # as httpx's

    def post(
        self, path: str, fields: dict[str, str] | None = None, *, page: str = ""
    ) -> httpx2.Response:
        """Send the form at `path`, found on the same page or on `page`."""
        found = _TOKEN.search(self.get(page or path).text)
        assert found is not None, page or path
        return self.client.post(path, data={"csrfmiddlewaretoken": found[1], **(fields or {})})

    def password(self, name: str, password: str = PASSWORD, goal: str = "") -> httpx2.Response:
        fields = {"username": name, "password": password, "next": goal}
        return self.post(SIGN_IN, fields)

    @property
    def session(self) -> str | None:
        return self.client.cookies.get("sessionid")

    def set_up_second_factor(self) -> tuple[str, list[str]]:
        """Return the app's secret and the recovery codes."""
        secret = _SECRET.search(self.get(SET_UP).text)
        assert secret is not None
        answer = self.post(SET_UP, {"code": code_of(secret[1])})
        codes = _CODE.findall(answer.text)
        assert codes, answer.text
        return secret[1], codes


def code_of(secret: str, ahead: int = 0) -> str:
    """Return what an app with this secret shows now, or so many steps ahead (RFC 6238)."""
    step = int(time.time()) // _STEP_S + ahead  # noqa: TID251 - an app has the time of day
    made = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    place = made[-1] & 0xF
    return f"{(struct.unpack('>I', made[place : place + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


def operator_of(gateway: GatewayProcess, name: str = "root") -> Browser:
    """Return a browser in which an operator is signed in, as one who may change everything.

    The recovery codes lie in the gateway's home, where the next one finds them.
    """
    kept = Path(gateway.home, f"recovery-codes-of-{name}.json")
    browser = Browser(gateway.url)
    answer = browser.password(name)
    assert answer.status_code == 302, answer.text
    if not kept.exists():
        _, codes = browser.set_up_second_factor()
    else:
        codes = json.loads(kept.read_text())
        answer = browser.post("/sign-in/code/", {"code": codes.pop()})
        assert answer.status_code == 302, answer.text
    kept.write_text(json.dumps(codes))
    return browser

"""EMAIL_URL is read strictly, and what is wrong with it is said without its password."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from mobius import env

PASSWORD = "CANARY-mail-password"


def read(monkeypatch: pytest.MonkeyPatch, value: str) -> dict[str, object]:
    monkeypatch.setenv("EMAIL_URL", value)
    return env.mail("EMAIL_URL")


@pytest.mark.parametrize(
    ("url", "port", "flag"),
    [
        ("smtp+tls://u:p%40@mail.test", 587, "EMAIL_USE_TLS"),
        ("smtp+ssl://u:p%40@mail.test:4650", 4650, "EMAIL_USE_SSL"),
        ("smtp://u:p%40@mail.test", 25, None),
    ],
)
def test_a_url_becomes_djangos_settings(
    monkeypatch: pytest.MonkeyPatch, url: str, port: int, flag: str | None
) -> None:
    found = read(monkeypatch, url)
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == ("mail.test", port)
    assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("u", "p@")
    on = {name for name in ("EMAIL_USE_TLS", "EMAIL_USE_SSL") if found.get(name)}
    assert on == ({flag} if flag else set())


def test_none_is_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, "") == {}


@pytest.mark.parametrize(
    "url",
    [f"https://u:{PASSWORD}@mail.test", f"smtp://u:{PASSWORD}@:25", f"smtp://u:{PASSWORD}@h:x"],
)
def test_what_cannot_be_read_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL") as refused:
        read(monkeypatch, url)
    assert PASSWORD not in str(refused.value)

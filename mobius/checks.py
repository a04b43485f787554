"""Refuse to start what would be unsafe to run; each check has a number and says what to do."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


def check_settings(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 - Django's signature
    **_kwargs: Any,  # noqa: ANN401 - Django's signature
) -> list[CheckMessage]:
    """Return what must not be so outside development."""
    found: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        found.append(
            Error(
                "ALLOWED_HOSTS is '*': any Host header would be believed.",
                hint="Set ALLOWED_HOSTS to the names people use for this gateway.",
                id="mobius.E001",
            )
        )
    if settings.DEBUG and not settings.EMBEDDED:
        found.append(
            Error(
                "DJANGO_DEBUG is on beside PostgreSQL: error pages would show settings.",
                hint="Unset DJANGO_DEBUG.",
                id="mobius.E002",
            )
        )
    if "daphne" in settings.INSTALLED_APPS and not settings.DEBUG:
        found.append(
            Error(
                "Daphne cuts running streams at a stop; it is for development alone.",
                hint="Use `manage.py serve`, or set DJANGO_DEBUG=1 for `runserver`.",
                id="mobius.E003",
            )
        )
    return found


def register_checks() -> None:
    """Register them; called once, when the apps are ready."""
    register(check_settings, Tags.security)

"""Refuse to start what would be unsafe to run; each check has a number and says what to do."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DEFAULT_DB_ALIAS, connection


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


def check_ledger_role(
    app_configs: Sequence[AppConfig] | None,  # noqa: ARG001 - Django's signature
    databases: Sequence[str] | None = None,
    **_kwargs: Any,  # noqa: ANN401 - Django's signature
) -> list[CheckMessage]:
    """Return a warning where the role that faces callers could rewrite the ledger."""
    if connection.vendor != "postgresql" or DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_table_privilege('ledger_entry', 'UPDATE')"
            " WHERE to_regclass('ledger_entry') IS NOT NULL"
        )
        if cursor.fetchone() != (True,):
            return []
    return [
        checks.Warning(
            "The role of DATABASE_URL may rewrite the ledger: only its triggers refuse.",
            hint="Run `manage.py grant_roles` and serve with DATABASE_URL and LEDGER_DATABASE_URL.",
            id="mobius.W001",
        )
    ]


def register_checks() -> None:
    """Register them; called once, when the apps are ready."""
    register(check_settings, Tags.security)
    # Asked for by `check --deploy --database default`: who migrates is the owner, and may.
    register(check_ledger_role, Tags.database, deploy=True)

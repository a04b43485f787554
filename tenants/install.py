"""Keep the installation's own secrets: random, made on first use, wrapped by the master key."""

import os

from django.db import transaction

from tenants import secrets
from tenants.models import InstallSecret

_LENGTH = 32


def install_secret(name: str) -> bytes:
    """Return the secret of that name. Raises SecretError with a wrong master key."""
    row, _ = InstallSecret.objects.get_or_create(
        name=name,
        defaults={"sealed": secrets.seal(os.urandom(_LENGTH), *_bound_to(name))},
    )
    return secrets.unseal(bytes(row.sealed), *_bound_to(name))


def rewrap_install_secrets() -> int:
    """Wrap them all with the first master key; return how many there are."""
    with transaction.atomic():
        rows = list(InstallSecret.objects.select_for_update())
        for row in rows:
            row.sealed = secrets.rewrap(bytes(row.sealed), *_bound_to(row.name))
            row.save(update_fields=["sealed"])
    return len(rows)


def _bound_to(name: str) -> tuple[str, str]:
    return "install_secret", name

"""Who has to sign in how, and who is an operator: by the settings and the user alone."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User


def must_use_sso(name: str) -> bool:
    """Say whether a person with this e-mail may sign in at the identity provider alone."""
    _, at, domain = name.strip().lower().rpartition("@")
    return bool(at) and settings.OIDC is not None and domain in settings.OIDC.domains


def named_operator(email: str) -> bool:
    """Say whether OIDC_OPERATORS names this e-mail."""
    return settings.OIDC is not None and email.lower() in settings.OIDC.operators


def is_operator(user: User | AnonymousUser) -> bool:
    return bool(user.is_active and user.is_staff and user.is_superuser)


def console_is_set_up() -> bool:
    """Say whether anybody could sign in to the console."""
    if settings.OIDC is not None and settings.OIDC.operators:
        return True
    return User.objects.filter(is_active=True, is_staff=True, is_superuser=True).exists()

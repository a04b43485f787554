"""Find the one user of a person, by what their provider proves or by an e-mail we invited."""

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from msgspec import Struct

from tenants import audit
from tenants.models import Member
from tenants.signin.models import SignIn
from tenants.signin.rules import named_operator

_LONGEST_NAME = 150


class UnknownPersonError(Exception):
    """Nobody here is meant; the text says why, and is fit for the person."""


class Proof(Struct, frozen=True):
    """Who somebody is, as a provider signed it; the e-mail is verified."""

    issuer: str
    subject: str
    email: str


def proven(proof: Proof) -> User:
    """Return the user whom a provider's proof means, linked to it. Raises UnknownPersonError."""
    with transaction.atomic():
        linked = SignIn.objects.filter(sso_issuer=proof.issuer, sso_subject=proof.subject).first()
        user = linked.user if linked else _link(proof)
        if not user.is_active:
            raise UnknownPersonError("This account is switched off.")
        _set_operator(user)
        return user


def _link(proof: Proof) -> User:
    """Link the person of an e-mail to this subject, from now on the only one that is them."""
    named = named_operator(proof.email)
    user = user_of(proof.email)
    if user is None:
        if not named and not _memberships(proof.email):
            raise UnknownPersonError(f"Nobody here has the address {proof.email}.")
        user = make_user(proof.email)
    elif user.is_superuser and not named:
        # Else whoever may write an address at the provider could become an operator.
        raise UnknownPersonError("OIDC_OPERATORS does not name this operator's address.")
    elif not named and not _memberships(proof.email):
        raise UnknownPersonError(f"Nobody's membership has the address {proof.email}.")
    row = _row(user)
    if row.sso_issuer == proof.issuer:
        raise UnknownPersonError(
            "This address belonged to somebody else at the provider; an operator has to unlink it."
        )
    row.sso_issuer, row.sso_subject = proof.issuer, proof.subject
    row.save(update_fields=["sso_issuer", "sso_subject"])
    audit.record(user.get_username(), "linked to single sign-on", user)
    return user


def _set_operator(user: User) -> None:
    """Make who OIDC_OPERATORS names an operator, and whom it no longer names none."""
    row, named = _row(user), named_operator(user.email)
    if named == row.operator_by_sso or (named and user.is_superuser):
        return
    before = audit.fields_of(user)
    user.is_staff = user.is_superuser = named
    user.save(update_fields=["is_staff", "is_superuser"])
    row.operator_by_sso = named
    row.save(update_fields=["operator_by_sso"])
    audit.record("OIDC_OPERATORS", "updated", user, before, audit.fields_of(user))


def unlink(user: User) -> None:
    """Forget whom a user is at the provider; the next with their address is linked anew."""
    SignIn.objects.filter(user=user).update(sso_issuer="", sso_subject="")


def user_of(email: str) -> User | None:
    """Return the user of an e-mail. Raises UnknownPersonError when there are several."""
    found = list(User.objects.filter(email__iexact=email)[:2])
    if len(found) > 1:
        raise UnknownPersonError(f"Several users have the address {email}.")
    return found[0] if found else None


def make_user(email: str) -> User:
    """Make the user of an e-mail, without a password. Raises UnknownPersonError."""
    name = email.lower()
    if len(name) > _LONGEST_NAME or User.objects.filter(username__iexact=name).exists():
        raise UnknownPersonError(f"No user can be named {email}.")
    user = User.objects.create_user(name, email=name)
    audit.record(name, "created", user, None, audit.fields_of(user))
    return user


def join_tenants(user: User) -> None:
    """Make the memberships that wait for this person's e-mail theirs."""
    if user.email:
        _memberships(user.email).filter(user=None).update(user=user)


def _memberships(email: str) -> QuerySet[Member]:
    return Member.all_tenants_unsafe.filter(email__iexact=email)


def _row(user: User) -> SignIn:
    return SignIn.objects.get_or_create(user=user)[0]

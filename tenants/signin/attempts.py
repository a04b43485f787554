"""Count attempts by name and by address, so that nobody guesses at length.

The database counts, for all processes at once: where it is away nobody can sign in anyway. Who
tried is kept as a digest: what was typed for a name may have been a password.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from tenants.signin.models import SignInAttempt, digest

WINDOW = timedelta(minutes=5)
_FORGOTTEN_AT_ONCE = 100


class Attempts:
    """At most so many attempts of each within a window that begins with the first."""

    def __init__(self, kind: str, most: int, window: timedelta = WINDOW) -> None:
        self._kind, self._most, self._window = kind, most, window

    def begin(self, who: str, now: datetime) -> float:
        """Count one attempt; return the seconds to wait for it, 0 when it may be made."""
        _forget(now)
        until = now + self._window
        with transaction.atomic():
            SignInAttempt.objects.bulk_create(
                [SignInAttempt(who=self._key(who), until=until)], ignore_conflicts=True
            )
            mine = SignInAttempt.objects.filter(who=self._key(who))
            mine.filter(until__lte=now).update(until=until, count=0)
            if mine.filter(count__lt=self._most).update(count=F("count") + 1):
                return 0.0
            return (mine.values_list("until", flat=True).get() - now).total_seconds()

    def forgive(self, who: str) -> None:
        """Take one back: it was right."""
        mine = SignInAttempt.objects.filter(who=self._key(who), count__gt=0)
        mine.update(count=F("count") - 1)

    def _key(self, who: str) -> str:
        return digest(f"{self._kind} {who.casefold()}".encode()).hex()


def _forget(now: datetime) -> None:
    """Remove some of those that are over; what another process removes just now is left to it."""
    with transaction.atomic():
        over = SignInAttempt.objects.select_for_update(skip_locked=True).filter(until__lte=now)
        gone = list(over.values_list("who", flat=True)[:_FORGOTTEN_AT_ONCE])
        if gone:
            SignInAttempt.objects.filter(who__in=gone).delete()


# By name typed or person signed in, and by where they come from.
names = Attempts("name", 10)
addresses = Attempts("address", 30)
# By the e-mail that a link is asked for.
letters = Attempts("letter", 5, timedelta(hours=1))

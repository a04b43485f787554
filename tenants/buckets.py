"""Bound how many buckets one attempt can meet: a transaction locks them all (money.md §4.4)."""

from collections import Counter
from collections.abc import Iterable

MOST_BUCKETS = 8

# The name of a tenant's budget that is the ceiling of each of its agent runs.
RUN_CEILING = "runs.budget"


def most_at_once(names: Iterable[str | None]) -> int:
    """Return how many budgets one call can meet, given the name each is for; '' or None is every.

    A call is asked for by one name and answered by another at most: a route and a model of it.
    """
    of_name = Counter(name or "" for name in names)
    of_every = of_name.pop("", 0)
    return of_every + sum(count for _, count in of_name.most_common(2))

"""Count durations in fixed buckets: a histogram is one whole number, and adding is merging.

Its decimal digits are the counts, `DIGITS` to a bucket, the first bucket's last: so Python's `+`
and SQL's `SUM` merge histograms without knowing them. The bounds of a bucket are a fifth apart and
its geometric middle stands for all that is in it: a percentile between `LEAST_MS` and `MOST_MS` is
at most `ERROR` away from the duration that a sorted list would give.
"""

import math
from bisect import bisect_right

GROWTH = 1.2
BUCKETS = 85
DIGITS = 12  # of one count; a multiple of four, PostgreSQL's own digits: empty buckets cost least
ERROR = math.sqrt(GROWTH) - 1  # 9.6 %

# The bucket before the first bound is below a millisecond, the one behind the last above an hour.
BOUNDS_MS = tuple(GROWTH**place for place in range(BUCKETS - 1))
LEAST_MS, MOST_MS = BOUNDS_MS[0], BOUNDS_MS[-1]
ONES: tuple[int, ...] = tuple(10 ** (DIGITS * place) for place in range(BUCKETS))
_BASE = 10**DIGITS


def one(duration_ms: float) -> int:
    """Return the histogram of one duration."""
    return ONES[bisect_right(BOUNDS_MS, duration_ms)]


def counts(histogram: int) -> list[int]:
    """Return how many durations are in each bucket, up to the last that has any."""
    found = []
    while histogram:
        histogram, count = divmod(histogram, _BASE)
        found.append(count)
    return found


def percentile(histogram: int, share: float) -> float | None:
    """Return the milliseconds that this share of the durations did not exceed; None of no duration.

    What is below `LEAST_MS` is told as such, what is above `MOST_MS` likewise.
    """
    found = counts(histogram)
    wanted = max(1, math.ceil(share * sum(found)))
    seen = 0
    for place, count in enumerate(found):
        seen += count
        if seen >= wanted:
            return _middle(place)
    return None


def _middle(place: int) -> float:
    if place == 0:
        return LEAST_MS
    if place == BUCKETS - 1:
        return MOST_MS
    return math.sqrt(BOUNDS_MS[place - 1] * BOUNDS_MS[place])

"""Say when a budget will be reached at the rate of spend, with the range its spread allows.

Method: spend a step (a day; an hour for budgets of a day or an hour) is taken as independent draws
with the mean m and standard deviation s of the history. After t steps S(t) = m·t ± z·s·√t holds
with 80 %; what is left of the budget is R. The date is where m·t = R; the earliest and the latest
are where the upper and the lower bound meet R.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import dropwhile
from statistics import fmean, stdev
from typing import Literal

from msgspec import Struct

from tenants.types import Span

Z_80 = 1.2816  # of the normal distribution: 10 % lie above it, 10 % below its negative
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
HISTORY_STEPS = {DAY: 28, HOUR: 7 * 24}

Method = Literal["history", "period_to_date", "none"]


class Spend(Struct, frozen=True, kw_only=True):
    """A budget as it stands: its limit (None only counts), what is used, and the period's span.

    `history` is spend of each complete `step` before now, oldest first.
    """

    limit_nano: int | None
    used_nano: int
    period: Span
    step: timedelta = DAY
    history: Sequence[int] = ()


class Forecast(Struct, frozen=True, kw_only=True):
    """When a budget is reached in its running period; None is not before it renews.

    `rate_nano` is spend a day. `method` is `history`, over `steps` of them; `period_to_date` where
    no step has ended yet, and so without a range; `none` where nothing was spent or is limited.
    """

    method: Method = "none"
    at: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    rate_nano: int = 0
    steps: int = 0


def step_of(period: str) -> timedelta:
    """Return the step for budgets of a period: days are too coarse to tell when within one."""
    return HOUR if period in {"hour", "day"} else DAY


def forecast(spend: Spend, now: datetime) -> Forecast:
    """Return when the limit is reached; time before the first spend is no evidence of a rate."""
    history = list(dropwhile(lambda nano: nano <= 0, spend.history))
    if spend.limit_nano is None:
        return Forecast()
    left = spend.limit_nano - spend.used_nano
    if left <= 0:
        return Forecast(method="period_to_date", at=now, earliest=now, latest=now)
    return _by_history(spend, history, left, now) if history else _to_date(spend, left, now)


def _by_history(spend: Spend, history: Sequence[int], left: int, now: datetime) -> Forecast:
    mean = fmean(history)
    spread = Z_80 * (stdev(history) if len(history) > 1 else 0.0)

    def reached(sign: int) -> datetime | None:
        # m·t + sign·z·s·√t = R, solved for √t: the positive root of a quadratic
        bound = sign * spread
        root = (math.sqrt(bound**2 + 4 * mean * left) - bound) / (2 * mean)
        return _within(spend.period, now, spend.step / timedelta(seconds=1) * root**2)

    return Forecast(
        method="history",
        at=reached(0),
        earliest=reached(1),
        latest=reached(-1),
        rate_nano=round(mean * (DAY / spend.step)),
        steps=len(history),
    )


def _to_date(spend: Spend, left: int, now: datetime) -> Forecast:
    elapsed = (now - spend.period.start).total_seconds()
    # A period without an end has no beginning to measure a rate from either.
    if spend.used_nano <= 0 or elapsed <= 0 or spend.period.end is None:
        return Forecast()
    rate = spend.used_nano / elapsed
    return Forecast(
        method="period_to_date",
        at=_within(spend.period, now, left / rate),
        rate_nano=round(rate * DAY.total_seconds()),
    )


def _within(period: Span, now: datetime, seconds: float) -> datetime | None:
    """Return the instant, unless the budget renews before, or nobody will see it."""
    end = period.end or now + 3650 * DAY
    return now + timedelta(seconds=seconds) if seconds < (end - now).total_seconds() else None

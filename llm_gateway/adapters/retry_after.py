"""Read how long a provider asks to wait; anything that is no plain wait is None, never a guess."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_LIMITS = ("requests", "tokens")
# As OpenAI and those who follow it write a duration: 6m0s, 2m59.56s, 350ms.
_DURATION = re.compile(
    r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
MAX_SECONDS = 7 * 24 * 3600.0  # beyond a week nobody meant it


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait: by `retry-after-ms`, `Retry-After` or what the limits say.

    A date counts against the answer's own `Date`, not our clock. `headers` has lower-case names.
    """
    milliseconds = seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    wait = seconds(value)
    if wait is None:
        wait = _until(value, headers.get("date"))
    return wait if wait is not None else _reset(headers)


def _reset(headers: Mapping[str, str]) -> float | None:
    """Return when the last of the limits that are used up is full again (`x-ratelimit-reset-…`)."""
    waits = [
        duration(headers.get(f"x-ratelimit-reset-{limit}"))
        for limit in _LIMITS
        if seconds(headers.get(f"x-ratelimit-remaining-{limit}", "0")) == 0
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def duration(value: str | None) -> float | None:
    """Return the seconds of a duration with units."""
    match = _DURATION.fullmatch(value or "")
    if match is None or not value:
        return None
    hours, minutes, plain, thousandths = (float(part or 0) for part in match.groups())
    wait = hours * 3600 + minutes * 60 + plain + thousandths / 1000
    return wait if wait <= MAX_SECONDS else None


def seconds(value: str | None) -> float | None:
    """Return a wait that is written as a number."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= MAX_SECONDS else None


def _until(value: str | None, date: str | None) -> float | None:
    try:
        wait = parsedate_to_datetime(value or "") - parsedate_to_datetime(date or "")
    except (TypeError, ValueError):  # no dates, or one of them without a zone
        return None
    left = wait.total_seconds()
    return left if 0 <= left <= MAX_SECONDS else None

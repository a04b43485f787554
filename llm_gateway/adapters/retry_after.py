"""Read how long a provider asks to wait; anything that is no plain wait is None, never a guess."""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MAX_SECONDS = 7 * 24 * 3600.0  # beyond a week nobody meant it


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, by `retry-after-ms`, else `Retry-After` (seconds or date).

    A date counts against the answer's own `Date`, not our clock. `headers` has lower-case names.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    return seconds if seconds is not None else _until(value, headers.get("date"))


def _seconds(value: str | None) -> float | None:
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
    seconds = wait.total_seconds()
    return seconds if 0 <= seconds <= MAX_SECONDS else None

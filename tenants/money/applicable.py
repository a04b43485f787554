"""Pick the budgets that bind one attempt, each with the subject whose bucket is meant."""

import hashlib
from collections.abc import Iterable, Mapping

from tenants.money.types import Bound
from tenants.types import BudgetRule

_LONGEST_SUBJECT = 128


def applicable(
    rules: Iterable[BudgetRule],
    *,
    model: str,
    asked: str = "",
    end_user: str = "",
    tags: Mapping[str, str] | None = None,
    run: str = "",
) -> tuple[Bound, ...]:
    """Return what binds an attempt at the public name `model`, asked for as `asked`.

    A budget on one name binds the model and the route of that name.

    Who names no end user, or no value of a tag, shares one bucket with all others who name none:
    leaving a name out is no way around a budget. A budget for each run binds runs only.
    """
    bound: list[Bound] = []
    for rule in rules:
        if rule.model and rule.model not in {model, asked}:
            continue
        if rule.per == "run" and not run:
            continue
        bound.append((rule, _subject(rule.per, end_user, tags or {}, run)))
    return tuple(bound)


def _subject(per: str, end_user: str, tags: Mapping[str, str], run: str) -> str:
    if not per:
        return ""
    named = {"end_user": end_user, "run": run}
    text = named[per] if per in named else tags.get(per.removeprefix("tag."), "")
    text = plain_text(text)
    if len(text) <= _LONGEST_SUBJECT:
        return text
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def plain_text(text: str) -> str:
    """Return text that every database takes: PostgreSQL keeps no NUL, UTF-8 no lone surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()

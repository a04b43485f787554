"""Make rows equal to values, one by one, and remember what was done and to which rows."""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from django.db import models
from msgspec import Struct, field

from llm_gateway.configuration.rows import Values
from tenants import audit
from tenants.models import Managed

Row = TypeVar("Row", bound=models.Model)
Parts = tuple[Values, Values]


class Report(Struct):
    """What an apply did: labels such as "budget acme/monthly", and the keys it generated."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # of an earlier file, kept without --prune

    @property
    def lines(self) -> list[str]:
        """Return a line for each difference: "+" for made, "~" for changed, "-" for removed."""
        signed = (("+", self.created), ("~", self.updated), ("-", self.removed))
        return [f"{sign} {label}" for sign, labels in signed for label in labels]

    @property
    def differs(self) -> bool:
        return bool(self.created or self.updated or self.removed)


class Changes:
    """One run over the database, inside one transaction.

    `whole`: the document is all there is to be. Then nothing that it leaves out stays, whoever made
    it, and nothing that it names becomes a file's.
    """

    def __init__(self, actor: str, *, whole: bool = False) -> None:
        self.report = Report()
        self._actor, self._whole = actor, whole
        self._kept: defaultdict[type[models.Model], set[int]] = defaultdict(set)

    def create(self, row: models.Model, label: str, **parts: object) -> None:
        """Save a new row; `parts` are what the audit shows of it beside its own fields."""
        if isinstance(row, Managed):
            row.managed_by_file = not self._whole
        row.save()
        self._keep(row)
        self.report.created.append(label)
        audit.record(self._actor, "created", row, None, audit.fields_of(row) | parts)

    def update(
        self,
        row: models.Model,
        label: str,
        values: Values,
        current: Values,
        also: Callable[[], Parts | None] | None = None,
    ) -> None:
        """Save the values that differ from the current ones; `also` makes a change beside them.

        It returns what the audit shows of that beyond the row's own fields, before and after.

        A row that the console made and the file names now is the file's; that is no difference.
        """
        self._keep(row)
        different = {name: value for name, value in values.items() if value != current[name]}
        before = audit.fields_of(row)
        if isinstance(row, Managed) and not (row.managed_by_file or self._whole):
            row.managed_by_file = True
            row.save(update_fields=["managed_by_file"])
        if not different and also is None:
            self.report.unchanged += 1
            return
        for name, value in different.items():
            setattr(row, name, value)
        parts = (also() if also is not None else None) or ({}, {})
        row.save()
        self.report.updated.append(label)
        after = audit.fields_of(row) | parts[1]
        audit.record(self._actor, "updated", row, before | parts[0], after)

    def remove(self, row: models.Model, label: str) -> None:
        audit.record(self._actor, "removed", row, audit.fields_of(row), None)
        row.delete()
        self.report.removed.append(label)

    def goes(self, *, from_file: bool) -> bool:
        """Say whether what the document leaves out goes: by itself only what a file made."""
        return from_file or self._whole

    def left_over(self, model: type[Row]) -> list[Row]:
        """Return the rows that go, since the document does not name them."""
        found = model._default_manager.exclude(pk__in=self._kept[model])  # noqa: SLF001 - Django's public model API
        return list(found if self._whole else found.filter(managed_by_file=True))

    def _keep(self, row: models.Model) -> None:
        self._kept[type(row)].add(row.pk)

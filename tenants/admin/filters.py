"""Filter lists by time; what people type is UTC, as all times of the console are."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from typing_extensions import override
from unfold.contrib.filters.admin import RangeDateTimeFilter


class MomentFilter(RangeDateTimeFilter):  # type: ignore[misc] # the theme is not typed
    """From and to; what is no time is no limit."""

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for side, lookup in (("from", "gte"), ("to", "lte")):
            if moment := self._moment(side):
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": moment})
        return queryset

    def _moment(self, side: str) -> datetime | None:
        day = self.used_parameters.get(f"{self.parameter_name}_{side}_0")
        clock = self.used_parameters.get(f"{self.parameter_name}_{side}_1") or "00:00"
        try:
            return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC)
        except ValueError:
            return None

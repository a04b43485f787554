"""Model fields: money, nano-dollars inside and US dollars in forms; whole numbers of any size."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from typing_extensions import override

from tenants.types import parse_usd, short_usd


class UsdFormField(forms.CharField):
    """Reads '2.50' as nano-dollars and shows it so again; `empty_value` is what nothing means."""

    def __init__(self, *, empty_value: int | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(empty_value=empty_value, **kwargs)  # type: ignore[arg-type] # any value

    @override
    def prepare_value(self, value: Any) -> Any:
        return short_usd(value) if isinstance(value, int) else value

    @override
    def to_python(self, value: Any) -> Any:
        text: Any = super().to_python(value)
        if text == self.empty_value:
            return text
        try:
            return parse_usd(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True


class NanoUsdField(models.BigIntegerField):  # type: ignore[type-arg] # generic only in the stubs
    """Nano-dollars in a bigint column; a decimal string in forms."""

    @override
    def formfield(self, **kwargs: Any) -> Any:
        return UsdFormField(
            required=not self.blank,
            empty_value=None if self.null or not self.blank else 0,
            label=self.verbose_name,
            help_text=self.help_text,
            initial=self.default if self.has_default() else None,
            widget=kwargs.get("widget"),
        )


class WholeNumberField(models.Field):  # type: ignore[type-arg] # generic only in the stubs
    """A whole number of any size, which `WholeNumberSum` adds up.

    SQLite has none above 64 bits: there it is text, and a sum arrives as its terms. (It must not be
    called an IntegerField: Django would convert sums by itself.)
    """

    @override
    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric" if connection.vendor == "postgresql" else "text"

    def from_db_value(self, value: object, *_: object) -> int | None:
        return None if value is None else sum(map(int, str(value).split(",")))

    @override
    def get_prep_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value


class WholeNumberSum(models.Aggregate):
    """The sum of an `WholeNumberField`."""

    function = "SUM"
    output_field = WholeNumberField()

    @override
    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, function="GROUP_CONCAT", **extra)

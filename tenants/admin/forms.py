"""Edit JSON columns as plain inputs; what was saved reopens equal."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from typing_extensions import override
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)


class NamesField(forms.CharField):
    """A list of names, one a line. Nothing is None: no restriction."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"required": False, "widget": UnfoldAdminTextareaWidget({"rows": 3}), **kwargs}
        )

    @override
    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    @override
    def to_python(self, value: Any) -> list[str] | None:  # type: ignore[override] # a list, not text
        if isinstance(value, list):
            return value
        lines = [line.strip() for line in (value or "").splitlines()]
        return [line for line in lines if line] or None

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return (initial or None) != self.to_python(data)


class NameListField(NamesField):
    """A list of names where nothing is the empty list."""

    @override
    def to_python(self, value: Any) -> list[str]:  # type: ignore[override] # a list, not text
        return super().to_python(value) or []


class SharesField(forms.CharField):
    """A list of shares between 0 and 1: '0.5, 0.8'."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"required": False, "widget": UnfoldAdminTextInputWidget(), **kwargs},
        )

    @override
    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    @override
    def to_python(self, value: Any) -> list[float]:  # type: ignore[override] # a list, not text
        if isinstance(value, list):
            return value
        try:
            shares = [float(word) for word in (value or "").replace(",", " ").split()]
        except ValueError:
            raise ValidationError("Write shares of the limit, such as 0.5, 0.8.") from None
        if not all(0 < share <= 1 for share in shares):
            raise ValidationError("Each share lies between 0 and 1.")
        return shares

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return str(self.prepare_value(initial or [])) != (data or "")


class ChoicesField(forms.MultipleChoiceField):
    """Boxes to tick; `nothing` is what no tick means."""

    def __init__(self, names: Sequence[str], *, nothing: Any = None, **kwargs: Any) -> None:
        self._nothing = nothing
        super().__init__(
            choices=[(name, name) for name in names],
            widget=UnfoldAdminCheckboxSelectMultipleWidget(),
            **{"required": False, **kwargs},
        )

    @override
    def clean(self, value: Any) -> Any:
        return super().clean(value) or self._nothing


class RecordWidget(forms.MultiWidget):
    """Inputs side by side, each under its name."""

    template_name = "tenants/record.html"

    def __init__(self, fields: Mapping[str, forms.Field]) -> None:
        self._names = list(fields)
        for name, field in fields.items():
            field.widget.attrs["title"] = name.replace("_", " ")
        super().__init__({name: field.widget for name, field in fields.items()})

    @override
    def decompress(self, value: Any) -> list[Any]:
        record = json.loads(value) if isinstance(value, str) else value or {}
        return [record.get(name) for name in self._names]


class RecordField(forms.MultiValueField):
    """A JSON object with known keys; an input left empty is left out."""

    def __init__(
        self,
        parts: Mapping[str, forms.Field],
        *,
        check: Callable[[dict[str, Any]], object] = dict,
        **kwargs: Any,
    ) -> None:
        """`check` raises ValueError with a sentence for a record that cannot be."""
        self._names, self._check = list(parts), check
        super().__init__(
            fields=tuple(parts.values()),
            widget=RecordWidget(parts),
            require_all_fields=False,
            **{"required": False, **kwargs},
        )

    @override
    def compress(self, data_list: Sequence[Any]) -> dict[str, Any]:
        pairs = zip(self._names, data_list, strict=False)
        record = {name: value for name, value in pairs if not _left_out(value)}
        try:
            self._check(record)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return record


def _left_out(value: Any) -> bool:
    # Not `in`: a 0 that was typed is not False.
    return value is None or value is False or value in ("", {})


class TagsField(forms.CharField):
    """An object of texts: 'team=research, env=dev'."""

    @override
    def prepare_value(self, value: Any) -> Any:
        return self._text(value)

    @override
    def to_python(self, value: Any) -> dict[str, str]:  # type: ignore[override] # an object, not text
        pairs = [pair.partition("=") for pair in (value or "").split(",") if pair.strip()]
        if not all(middle for _, middle, _ in pairs):
            raise ValidationError("Write tags as team=research, env=dev.")
        return {name.strip(): text.strip() for name, _, text in pairs}

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return self._text(initial) != (data or "")

    @staticmethod
    def _text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name}={text}" for name, text in value.items())
        return value or ""


class TagsInput(UnfoldAdminTextInputWidget):  # type: ignore[misc] # the theme is not typed
    """A text input that shows an object as tags; inside a record no field prepares the value."""

    def format_value(self, value: Any) -> str:
        return TagsField._text(value)  # noqa: SLF001 - its other half


def whole(*, at_least: int = 0) -> forms.IntegerField:
    widget = UnfoldAdminIntegerFieldWidget()
    return forms.IntegerField(required=False, min_value=at_least, widget=widget)


def number(**kwargs: Any) -> forms.FloatField:
    widget = UnfoldAdminDecimalFieldWidget({"step": "any"})
    return forms.FloatField(required=False, min_value=0, widget=widget, **kwargs)


def word() -> forms.CharField:
    return forms.CharField(required=False, max_length=200, widget=UnfoldAdminTextInputWidget())


def switch() -> forms.BooleanField:
    return forms.BooleanField(required=False, widget=UnfoldBooleanWidget())


def choice(*names: str) -> forms.ChoiceField:
    choices = [("", "default"), *((name, name) for name in names)]
    return forms.ChoiceField(
        required=False, choices=choices, widget=UnfoldAdminSelectWidget(choices=choices)
    )


def tags() -> TagsField:
    return TagsField(required=False, widget=TagsInput({"placeholder": "team=research, env=dev"}))

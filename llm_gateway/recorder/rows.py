"""Turn a finished call into a row of the request log that every database takes.

Text is cut to its column's length; NUL and half surrogates, which PostgreSQL refuses, are taken
out wherever a caller or a provider hid them.
"""

from collections.abc import Mapping
from datetime import UTC
from operator import attrgetter
from typing import Any

import msgspec
from django.db import models

from llm_gateway.models import RequestLog
from llm_gateway.types import CallRecord

Row = dict[str, Any]

_META = RequestLog._meta  # noqa: SLF001 - Django's public model API
TABLE = _META.db_table
_FIELDS: dict[str, Any] = {str(field.column): field for field in _META.concrete_fields}
COLUMNS = tuple(_FIELDS)
JSON_COLUMNS = frozenset(
    name for name, field in _FIELDS.items() if isinstance(field, models.JSONField)
)
LENGTHS: dict[str, int] = {
    name: field.max_length
    for name, field in _FIELDS.items()
    if isinstance(field, models.CharField) and field.max_length
}
_COPIED = tuple(
    name for name in COLUMNS if name in CallRecord.__struct_fields__ and name not in JSON_COLUMNS
)
_copied = attrgetter(*_COPIED)


def row(call: CallRecord) -> Row:
    values = dict(zip(_COPIED, _copied(call), strict=True))
    for name, length in LENGTHS.items():
        text = values[name]
        if len(text) > length or not text.isascii() or "\0" in text:
            values[name] = _clean(text)[:length]
    values["attempt_count"] = len(call.attempts)
    values["tags"] = dict(call.tags)
    values["lines"] = list(call.lines)
    values["decision"] = {**call.decision, "attempts": call.attempts}
    return values


def recorded(values: Row) -> Row:
    """Return a row with its tags as the database has them, to be summed up like a row read back."""
    if not values["tags"]:
        return values
    return {**values, "tags": msgspec.json.decode(encode(values["tags"]))}


def encode(value: object) -> bytes:
    """Return `value` as JSON without anything that a database refuses."""
    try:
        encoded = msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(value), enc_hook=str)
    if rb"\u0000" in encoded:
        return msgspec.json.encode(_clean(value), enc_hook=str)
    return encoded


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return _clean(msgspec.structs.asdict(value))
    return value


def for_postgresql(rows: list[Row]) -> str:
    """Return the rows as one JSON array."""
    return encode(rows).decode()


def for_sqlite(values: Row) -> tuple[Any, ...]:
    """Return the values as Django's SQLite backend keeps them, in the order of COLUMNS."""
    kept = values | {name: encode(values[name]).decode() for name in JSON_COLUMNS}
    kept["id"] = values["id"].hex
    kept["created_at"] = str(values["created_at"].astimezone(UTC).replace(tzinfo=None))
    return tuple([kept[name] for name in COLUMNS])

"""Check the few fields of a caller's body that steer the gateway; the rest is not looked at."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway.errors import InvalidRequestError
from llm_gateway.types import Outgoing

MOST = 2**31 - 1  # of tokens or answers: what is beyond is no number that anybody means


def wrong(param: str, wanted: str) -> InvalidRequestError:
    """Return the error for a value of the wrong type."""
    return InvalidRequestError(f"'{param}' must be {wanted}.", param=param)


def model_name(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "the name of a model")
    return model


def object_list(body: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty where the field is absent or null."""
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(field, "a list")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong(f"{field}[{index}]", "an object")
    return value


def message_list(body: dict[str, Any]) -> list[Any]:
    """Return the messages as they came: whoever reads them judges their shape."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a list with at least one message")
    return messages


def optional_object(body: dict[str, Any], field: str) -> dict[str, Any]:
    value = body.get(field)
    if value is not None and not isinstance(value, dict):
        raise wrong(field, "an object")
    return value or {}


def positive(body: dict[str, Any], field: str) -> int | None:
    value = body.get(field)
    if value is not None and (type(value) is not int or value < 1):
        raise wrong(field, "an integer of at least 1")
    if value is not None and value > MOST:
        raise wrong(field, f"an integer of at most {MOST}")
    return value


def flag(body: dict[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise wrong(field, "true or false")
    return bool(value)


class Media(Struct):
    """What of the messages is no text: how many images, documents and sounds, how many bytes.

    `unsized` is the first thing that stands elsewhere, `lasting` whether some of it is cached for
    long.
    """

    images: int = 0
    documents: int = 0
    audio: int = 0
    inline_bytes: int = 0
    unsized: str = ""
    lasting: bool = False


def media_in(messages: list[Any], read: Callable[[dict[str, Any], Media], None]) -> Media:
    """Return what `read`, which knows one dialect's parts, finds in the messages."""
    media = Media()
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                read(part, media)
    return media


def inline_size(holder: object, field: str) -> int:
    """Return the length of inline media, 0 where it is given otherwise."""
    value = holder.get(field) if isinstance(holder, dict) else None
    if not isinstance(value, str) or value.startswith(("http:", "https:")):
        return 0
    return len(value)


def outgoing(
    path: str,
    body: dict[str, Any],
    headers: tuple[tuple[str, str], ...],
    *,
    stream: bool = False,
) -> Outgoing:
    """Serialise a body. Raises InvalidRequestError for text that is no Unicode."""
    try:
        encoded = msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise InvalidRequestError("The body holds half of a surrogate pair.") from error
    return Outgoing(path=path, body=encoded, headers=headers, stream=stream)

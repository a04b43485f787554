"""Cut Amazon's binary event streams into messages, each checked, and read one of them.

A message is: its length and that of its headers (4 bytes each, big endian), a CRC-32 of these, the
headers, the payload, and a CRC-32 of all that. A header is a name and a typed value.
"""

import struct
import zlib
from collections.abc import Iterator

from llm_gateway.errors import InvalidAnswerError

MAX_MESSAGE_BYTES = 1 << 20
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_SHORTEST = _PRELUDE.size + _CRC.size
_TEXT = 7
# Bytes of the values whose type says their length; the lengths of 6 and 7 stand before them.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_COUNTED = {6, _TEXT}


class Framer:
    """Incremental; a frame is one whole message, whose checksums hold."""

    __slots__ = ("_held", "_size", "_wanted")
    closing = b""  # a message that is cut is no message

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._wanted = _PRELUDE.size

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the messages completed by `chunk`. Raises InvalidAnswerError for a broken one."""
        self._held.append(chunk)
        self._size += len(chunk)
        if self._size < self._wanted:
            return []  # not joined, so that small pieces stay linear
        data = self.rest()
        start, messages = 0, []
        while (end := _end(data, start)) is not None:
            messages.append(_checked(data[start:end]))
            start = end
        self._keep(data[start:])
        return messages

    def rest(self) -> bytes:
        """Return what was left of a message, and forget it."""
        left = b"".join(self._held)
        self._held.clear()
        self._size, self._wanted = 0, _PRELUDE.size
        return left

    def _keep(self, data: bytes) -> None:
        self._held, self._size = [data], len(data)
        has_prelude = self._size >= _PRELUDE.size
        self._wanted = _PRELUDE.unpack_from(data)[0] if has_prelude else _PRELUDE.size


def message(frame: bytes) -> tuple[dict[str, str], bytes]:
    """Return a message's text headers by name, and its payload.

    Raises InvalidAnswerError for headers that are none.
    """
    length = _PRELUDE.unpack_from(frame)[1]
    start = _PRELUDE.size
    try:
        headers = dict(_headers(frame[start : start + length]))
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise _broken() from error
    return headers, frame[start + length : -_CRC.size]


def _end(data: bytes, start: int) -> int | None:
    """Return where the message ends that starts here, None where it is not all here."""
    if len(data) - start < _PRELUDE.size:
        return None
    total, headers, crc = _PRELUDE.unpack_from(data, start)
    if crc != zlib.crc32(data[start : start + 8]) or total < _SHORTEST + headers:
        raise _broken()
    if total > MAX_MESSAGE_BYTES:
        raise InvalidAnswerError("The provider sent an event longer than 1 MiB.")
    return start + total if start + total <= len(data) else None


def _checked(frame: bytes) -> bytes:
    if _CRC.unpack(frame[-_CRC.size :])[0] != zlib.crc32(frame[: -_CRC.size]):
        raise _broken()
    return frame


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(data):
        length = data[position]
        name = data[position + 1 : position + 1 + length].decode()
        kind = data[position + 1 + length]
        position += length + 2
        if kind in _COUNTED:
            (size,) = struct.unpack_from(">H", data, position)
            position += 2
        else:
            size = _FIXED[kind]
        value = data[position : position + size]
        position += size
        if kind == _TEXT:
            yield name, value.decode()
    if position != len(data):
        raise IndexError("a header goes beyond the headers")


def _broken() -> InvalidAnswerError:
    return InvalidAnswerError("The provider's event stream is broken.")

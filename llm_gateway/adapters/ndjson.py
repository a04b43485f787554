"""Cut a stream of JSON lines into frames: a line is a frame, its end included."""

from llm_gateway.errors import InvalidAnswerError

MAX_LINE_BYTES = 1 << 20


class Framer:
    """Incremental; where the bytes are cut makes no difference to the frames."""

    __slots__ = ("_held", "_size")
    closing = b"\n"

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines completed by `chunk`. Raises InvalidAnswerError above the bound."""
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        *lines, left = (self.rest() + chunk).split(b"\n")
        self._hold(left)
        return [_bounded(line + b"\n") for line in lines if line.strip()]

    def rest(self) -> bytes:
        """Return what was left without a line end, and forget it."""
        left = b"".join(self._held)
        self._held.clear()
        self._size = 0
        return left

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._size += len(piece)
        if self._size > MAX_LINE_BYTES:
            raise _too_long()


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE_BYTES:
        raise _too_long()
    return line


def _too_long() -> InvalidAnswerError:
    return InvalidAnswerError("The provider sent a line longer than 1 MiB.")

"""Count with the vocabularies that are public: they come with us, nothing is ever downloaded.

The files of `data/` are OpenAI's own, packed (MIT licence); tiktoken checks their digests. Loading
one takes half a second and 50 to 100 MB, so it happens on first use, and best in a thread.
"""

import gzip
import hashlib
import os
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from tiktoken import Encoding

Vocabulary = Literal["cl100k_base", "o200k_base"]

_WHERE = "TIKTOKEN_CACHE_DIR"
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_loading = Lock()


# A piece that is counted at once: a megabyte of spaces would be too deep for the library's stack.
PIECE = 100_000  # characters
MOST_PIECES = 40
CUT_TOKENS = 4  # by which a cut may change a count


class Counted(Struct, frozen=True):
    """Tokens of a text, and between what their number surely lies."""

    low: int
    likely: int
    high: int


def count(text: str, vocabulary: Vocabulary) -> Counted:
    """Return how many tokens a text has; marks of the protocol in it are text like any other.

    What is longer than a piece is cut, and what is longer than all pieces is reckoned by them.
    """
    encode = _encoding(vocabulary).encode_ordinary
    if len(text) <= PIECE:
        exact = len(encode(text))
        return Counted(exact, exact, exact)
    read = text[: PIECE * MOST_PIECES]
    found = sum(len(encode(read[at : at + PIECE])) for at in range(0, len(read), PIECE))
    unsure = CUT_TOKENS * (len(read) // PIECE)
    rest = text[len(read) :]
    return Counted(
        max(0, found - unsure),
        found * len(text) // len(read),
        found + unsure + len(rest.encode("utf-8", "surrogatepass")),
    )


def _encoding(vocabulary: Vocabulary) -> "Encoding":
    with _loading:
        return _loaded(vocabulary)


@cache
def _loaded(vocabulary: Vocabulary) -> "Encoding":
    import tiktoken  # noqa: PLC0415 - half a second and its vocabulary: on first use

    packed = files("llm_gateway.tokens").joinpath(f"data/{vocabulary}.tiktoken.gz").read_bytes()
    # It looks for a file named after the address that it would else ask.
    address = _ADDRESS.format(vocabulary).encode()
    name = hashlib.sha1(address, usedforsecurity=False).hexdigest()
    before = os.environ.get(_WHERE)
    with tempfile.TemporaryDirectory(prefix="mobius-vocabulary-") as folder:
        Path(folder, name).write_bytes(gzip.decompress(packed))
        os.environ[_WHERE] = folder
        try:
            return tiktoken.get_encoding(vocabulary)
        finally:
            del os.environ[_WHERE]
            if before is not None:
                os.environ[_WHERE] = before

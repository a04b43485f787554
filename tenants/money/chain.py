"""Chain each writer's entries by HMAC, so that a changed or missing row can be named.

The key is not in the database in the clear: who can write rows cannot write hashes.
"""

import hmac
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from tenants.money.rows import EntryRow

# Sorted, because jsonb keeps objects in an order of its own.
_encode = msgspec.json.Encoder(order="sorted").encode


class Head(Struct, frozen=True):
    """The end of a chain: number and hash of its last entry; (0, '') before the first."""

    seq: int = 0
    hash: str = ""


class Linked(Struct, frozen=True):
    """An entry with its place in the chain."""

    row: EntryRow
    prev_hash: str
    hash: str
    canonical: bytes

    @property
    def json(self) -> bytes:
        """Return the whole row as JSON."""
        links = b',"prev_hash":"%b","hash":"%b"}' % (self.prev_hash.encode(), self.hash.encode())
        return self.canonical[:-1] + links


def link(
    key: bytes, writer_id: int, head: Head, rows: Sequence[EntryRow]
) -> tuple[list[Linked], Head]:
    """Give the rows their places behind `head`; return them with the new head."""
    seq, last = head.seq, head.hash
    linked = []
    for row in rows:
        seq += 1
        row.writer_id, row.writer_seq = writer_id, seq
        canonical = _encode(row)
        digest = row_hash(key, last, canonical)
        linked.append(Linked(row, last, digest, canonical))
        last = digest
    return linked, Head(seq, last)


def canonical_json(row: EntryRow) -> bytes:
    return _encode(row)


def row_hash(key: bytes, prev_hash: str, canonical: bytes) -> str:
    return hmac.digest(key, prev_hash.encode() + canonical, "sha256").hex()

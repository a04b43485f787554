"""The hash chain of entries."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from tenants.money.chain import Head, canonical_json, link, row_hash
from tenants.money.rows import EntryRow


def entry(**values: Any) -> EntryRow:
    known: dict[str, Any] = {
        "request_id": UUID(int=1),
        "attempt_no": 1,
        "kind": "attempt",
        "seq": 0,
        "outcome": "settled",
        "estimated": False,
        "unpriced": False,
        "tenant_id": 1,
        "project_id": None,
        "api_key_id": None,
        "end_user": "",
        "tags": {},
        "deployment_id": None,
        "model": "m",
        "price_version_id": None,
        "amount_nano": 5,
        "hold_nano": 7,
        "bucket_ids": (1, 2),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return EntryRow(**known | values)


def test_each_row_follows_the_one_before_it() -> None:
    linked, head = link(b"key", 3, Head(), [entry(), entry(attempt_no=2)])
    first, second = linked
    assert (first.prev_hash, second.prev_hash) == ("", first.hash)
    assert head == Head(2, second.hash)
    assert [each.row.writer_seq for each in linked] == [1, 2]


def test_the_order_of_keys_in_json_columns_does_not_matter() -> None:
    one = entry(usage={"a": 1, "bb": {"y": 1, "x": 2}}, tags={"t": "1", "s": "2"})
    other = entry(usage={"bb": {"x": 2, "y": 1}, "a": 1}, tags={"s": "2", "t": "1"})
    assert canonical_json(one) == canonical_json(other)


def test_any_change_is_another_hash() -> None:
    original = row_hash(b"key", "", canonical_json(entry()))
    assert row_hash(b"key", "", canonical_json(entry(amount_nano=6))) != original
    assert row_hash(b"other", "", canonical_json(entry())) != original
    assert row_hash(b"key", "0", canonical_json(entry())) != original


def test_the_row_goes_to_the_database_with_its_links() -> None:
    (linked,), _ = link(b"key", 3, Head(8, "ab"), [entry()])
    row = msgspec.json.decode(linked.json)
    assert (row["prev_hash"], row["hash"], row["writer_seq"]) == ("ab", linked.hash, 9)

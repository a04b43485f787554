"""The spool: what it took is there after a crash, torn lines are not money."""

from pathlib import Path
from uuid import UUID

import pytest

from tenants.money.ops import Settle
from tenants.money.spool import Spool
from tenants.money.types import Hold, HoldRequest, Settlement


def settle(number: int) -> Settle:
    request = HoldRequest(
        request_id=UUID(int=number),
        attempt_no=1,
        tenant_id=1,
        project_id=None,
        api_key_id=None,
        deployment_id=None,
        model="m",
        price_version_id=None,
        amount_nano=9,
        tags={"team": "red"},
    )
    hold = Hold(id=UUID(int=number), request=request, bucket_ids=(1,))
    return Settle(hold, Settlement(outcome="settled", amount_nano=number, lines=[{"unit": "x"}]))


def replayed(spool: Spool, failing: tuple[int, ...] = ()) -> list[int]:
    seen: list[int] = []

    def run(settles: object) -> list[Settle]:
        assert isinstance(settles, list)
        seen.extend(each.settlement.amount_nano for each in settles)
        return [each for each in settles if each.settlement.amount_nano in failing]

    spool.replay(run)
    return seen


def test_what_was_written_is_replayed_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert spool.write([settle(1), settle(2)])
    assert spool.write([settle(3)])
    assert replayed(spool) == [1, 2, 3]
    assert replayed(spool) == []


def test_what_failed_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write([settle(1), settle(2)])
    assert replayed(spool, failing=(2,)) == [1, 2]
    assert replayed(spool) == [2]


@pytest.mark.promise("M2")
def test_the_file_of_a_process_that_is_gone_is_adopted(tmp_path: Path) -> None:
    gone = Spool(tmp_path)
    gone.write([settle(1)])
    assert replayed(Spool(tmp_path)) == []  # it still lives
    gone.close()
    assert replayed(Spool(tmp_path)) == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    gone = Spool(tmp_path)
    gone.write([settle(1)])
    gone.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() * 2 + path.read_bytes()[:40])
    assert replayed(Spool(tmp_path)) == [1, 1]


def test_a_full_spool_takes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, cap_bytes=10)
    assert not spool.write([settle(1)])
    assert replayed(spool) == []

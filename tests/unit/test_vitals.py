"""What is seen of a process, and what follows: the pure half of health (`scorecard.md` F13)."""

import pytest

from llm_gateway.service.vitals import LEAST_FREE_BYTES, Health, Queue, Signs, health
from tests.harness.together import in_time

WITHIN_S = 30.0


@pytest.mark.parametrize(
    ("signs", "wanted"),
    [
        (Signs(), Health([], [], [])),
        (Signs(writer_unmoved_s=24), Health([], [], [])),
        (Signs(writer_unmoved_s=25), Health(["ledger writer"], ["ledger writer"], [])),
        (Signs(recorder_unmoved_s=25), Health(["request log"], ["request log"], [])),
        (Signs(blocked_s_ago=4), Health([], ["event loop"], [])),
        (Signs(blocked_s_ago=6), Health([], [], [])),
        (Signs(migrated=False), Health([], ["migrations"], [])),
        (Signs(free_bytes=LEAST_FREE_BYTES - 1), Health([], ["disk"], [])),
        (Signs(database_silent_s=600), Health([], [], ["database"])),
        (Signs(database_silent_s=600, ledger_online=False), Health([], [], ["database", "ledger"])),
        (Signs(request_log_online=False), Health([], [], ["request log"])),
        (Signs(limits_away=True), Health([], [], ["redis"])),
    ],
    ids=str,
)
def test_what_follows_from_what_is_seen(signs: Signs, wanted: Health) -> None:
    assert health(signs) == wanted


def found_after(*, possible: bool = True, steps_every: int = 10**9, waits: bool = True) -> float:
    """Return after how long a queue is called stuck that is looked at twice a second."""
    queue, now = Queue(), 0.0
    while now < 600:
        unmoved_s = queue.seen(
            waits=waits, steps=int(now) // steps_every, possible=possible, now=now
        )
        if health(Signs(writer_unmoved_s=unmoved_s)).stuck:
            return now
        now += 0.5
    return float("inf")


@pytest.mark.promise("F13")
def test_a_queue_that_does_not_move_is_found_within_half_a_minute() -> None:
    in_time(found_after(), WITHIN_S)


@pytest.mark.promise("F13")
@pytest.mark.parametrize(
    "wrongly", [{"possible": False}, {"steps_every": 20}, {"waits": False}], ids=str
)
def test_a_queue_is_never_stuck_that_moves_is_empty_or_waits_for_the_database(
    wrongly: dict[str, int],
) -> None:
    assert found_after(**wrongly) == float("inf")  # type: ignore[arg-type]

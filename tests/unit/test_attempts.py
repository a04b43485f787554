"""Attempts are counted in windows, and never for more names than there is room for."""

from tenants.signin.attempts import KEPT, Attempts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_after_so_many_one_waits_for_the_end_of_the_window() -> None:
    clock = Clock()
    attempts = Attempts(2, 60, clock)
    assert [attempts.begin("ann") for _ in range(2)] == [0, 0]
    clock.now += 20
    assert attempts.begin("ann") == 40
    assert attempts.begin("bob") == 0
    clock.now += 40
    assert attempts.begin("ann") == 0


def test_what_was_right_does_not_count() -> None:
    attempts = Attempts(1, 60, Clock())
    for _ in range(5):
        assert attempts.begin("ann") == 0
        attempts.forgive("ann")


def test_memory_is_bounded_and_the_oldest_window_goes_first() -> None:
    attempts = Attempts(1, 60, Clock())
    for number in range(KEPT + 5):
        attempts.begin(str(number))
    assert len(attempts._windows) <= KEPT
    assert attempts.begin(str(KEPT + 4)) > 0
    assert attempts.begin("0") == 0

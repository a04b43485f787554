"""Keep rates in the process: the algorithm of rates.lua over dictionaries.

Every bound is divided by the number of live processes, so that together they keep it.
"""

from collections.abc import Callable, Sequence

from typing_extensions import override

from tenants.limits.plan import Answer, Book, Plan, State, Ticket, share_of

KEEP, LEASE_MS, SLOT_WAIT_MS = 60, 30_000, 1_000
NEVER = -1


class Window:
    """Units booked in this second and the 60 before it, by second, oldest first."""

    __slots__ = ("seconds", "sum")

    def __init__(self) -> None:
        self.seconds: dict[int, int] = {}
        self.sum = 0

    def used(self, second: int) -> int:
        while self.seconds and (oldest := next(iter(self.seconds))) < second - KEEP:
            self.sum -= self.seconds.pop(oldest)
        return self.sum

    def book(self, second: int, units: int) -> None:
        if units:
            self.seconds[second] = self.seconds.get(second, 0) + units
            self.sum += units

    def give_back(self, second: int, units: int) -> None:
        if second in self.seconds:
            self.seconds[second] -= units
            self.sum -= units

    def wait_ms(self, now: int, units: int) -> int:
        for second, booked in self.seconds.items():
            units -= booked
            if units <= 0:
                return (second + KEEP + 1) * 1000 - now
        return (KEEP + 1) * 1000

    def reset_ms(self, now: int) -> int:
        return (next(reversed(self.seconds)) + KEEP + 1) * 1000 - now if self.sum else 0


class Slots:
    """Running requests with the end of each one's lease in milliseconds, soonest first."""

    __slots__ = ("leases",)

    def __init__(self) -> None:
        self.leases: dict[str, int] = {}

    def taken(self, now: int) -> int:
        while self.leases and self.leases[first := next(iter(self.leases))] <= now:
            del self.leases[first]
        return len(self.leases)

    def lease(self, request_id: str, now: int) -> None:
        self.leases.pop(request_id, None)  # to the end of the line
        self.leases[request_id] = now + LEASE_MS


class LocalBook(Book):
    """`clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float], live_processes: Callable[[], int]) -> None:
        self._clock = clock
        self._live_processes = live_processes
        self._windows: dict[str, Window] = {}
        self._slots: dict[str, Slots] = {}

    @property
    @override
    def state(self) -> State:
        return "local"

    @property
    @override
    def lost(self) -> int:
        return 0

    @override
    async def start(self) -> None:
        return

    @override
    async def take(self, plan: Plan, request_id: str, tokens: int) -> Answer:
        plan = share_of(plan, self._live_processes())
        now = self._now()
        place, wait = self._check(plan, tokens, now)
        if not place:
            self._book(plan, request_id, tokens, now)
        return self._answer(plan, place, wait, now)

    @override
    async def read(self, plan: Plan) -> Answer:
        return self._answer(share_of(plan, self._live_processes()), 0, 0, self._now())

    @override
    def give(self, ticket: Ticket, *, requests: int, tokens: int) -> None:
        second = self._now() // 1000
        for key, letter in zip(ticket.plan.keys, ticket.plan.letters, strict=True):
            if letter == "c":
                self._slots_of(key).leases.pop(ticket.request_id, None)
            elif (units := tokens if letter == "t" else requests) < 0:
                self._window_of(key).book(second, -units)
            else:
                self._window_of(key).give_back(ticket.second, units)

    @override
    def renew(self, tickets: Sequence[Ticket]) -> None:
        now = self._now()
        for ticket in tickets:
            self._lease(ticket.plan, ticket.request_id, now)
        self._forget(now)

    @override
    async def close(self) -> None:
        return

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _window_of(self, key: str) -> Window:
        return self._windows.get(key) or self._windows.setdefault(key, Window())

    def _slots_of(self, key: str) -> Slots:
        return self._slots.get(key) or self._slots.setdefault(key, Slots())

    def _used(self, key: str, letter: str, now: int) -> int:
        if letter == "c":
            return self._slots_of(key).taken(now)
        return self._window_of(key).used(now // 1000)

    def _check(self, plan: Plan, tokens: int, now: int) -> tuple[int, int]:
        """Return the place of the bound that takes longest to fit, and how long; 0: all fit."""
        place, longest = 0, 0
        for index, bound in enumerate(plan.bounds):
            letter, key = plan.letters[index], plan.keys[index]
            cost = tokens if letter == "t" else 1
            if cost > bound.value:
                return index + 1, NEVER
            over = self._used(key, letter, now) + cost - bound.value
            if over > 0:
                wait = SLOT_WAIT_MS if letter == "c" else self._windows[key].wait_ms(now, over)
                if wait > longest:
                    place, longest = index + 1, wait
        return place, longest

    def _book(self, plan: Plan, request_id: str, tokens: int, now: int) -> None:
        for key, letter in zip(plan.keys, plan.letters, strict=True):
            if letter != "c":
                self._windows[key].book(now // 1000, tokens if letter == "t" else 1)
        self._lease(plan, request_id, now)

    def _lease(self, plan: Plan, request_id: str, now: int) -> None:
        for key, letter in zip(plan.keys, plan.letters, strict=True):
            if letter == "c":
                self._slots_of(key).lease(request_id, now)

    def _answer(self, plan: Plan, place: int, wait: int, now: int) -> Answer:
        numbers = [place, wait, now // 1000]
        for key, letter in zip(plan.keys, plan.letters, strict=True):
            numbers.append(self._used(key, letter, now))
            numbers.append(0 if letter == "c" else self._windows[key].reset_ms(now))
        return Answer(plan=plan, numbers=numbers, book=self)

    def _forget(self, now: int) -> None:
        """Drop what holds nothing, so that memory follows the keys in use."""
        for key in [key for key, slots in self._slots.items() if not slots.taken(now)]:
            del self._slots[key]
        second = now // 1000
        for key, window in list(self._windows.items()):
            if not window.used(second) and not window.seconds:
                del self._windows[key]

"""Agent runs as the ledger counts them: a step for each request, until there are enough."""

from uuid import UUID

from msgspec import Struct

RunKey = tuple[int, str]


class Step(Struct, frozen=True, kw_only=True):
    """A wish to take one more step of a run; None is no limit."""

    request_id: UUID
    tenant_id: int
    run: str
    max_steps: int | None
    max_seconds: int | None

    @property
    def place(self) -> RunKey:
        return self.tenant_id, self.run


class RunState(Struct, frozen=True, kw_only=True):
    """A run after a step, or why there is none: `age_s` since its first step."""

    taken: bool
    steps: int
    age_s: float
    stopped: bool

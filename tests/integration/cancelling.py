"""Ask as many tenants at once, leave half of the answers somewhere, and look whose each one is."""

import random
from typing import Any, NamedTuple

from tests.harness.canary import PATTERN, canary
from tests.harness.config import key, tenant
from tests.harness.crowd import Crowd, crowded, each
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream

TENANTS, AT_ONCE = 8, 40
KEYS = [canary("api-key") for _ in range(TENANTS)]
DOORS = [(OPENAI, "alpha"), (OPENAI, "claude"), (ANTHROPIC, "claude"), (ANTHROPIC, "beta")]
# Enough for everybody, so that each is counted and none refused.
RATES = {"requests_per_minute": 100_000, "tokens_per_minute": 100_000_000, "concurrency": 1_000}


class Asking(NamedTuple):
    """One request of one tenant, and where it is left: at a byte, after a while, or not."""

    secret: str
    key: str
    dialect: Dialect
    model: str
    stream: bool
    leave_at: int | None
    leave_after_s: float | None


def tenants() -> list[dict[str, Any]]:
    return [
        tenant(f"tenant-{n}", keys=[key("main", value)], rate_limits=RATES)
        for n, value in enumerate(KEYS)
    ]


def asked(count: int) -> list[Asking]:
    """Return what is asked; every second one is left somewhere."""
    rng = random.Random(9)
    found = []
    for number in range(count):
        dialect, model = rng.choice(DOORS)
        at, after = None, None
        if number % 2:
            at, after = rng.choice([(rng.randrange(1, 3000), None), (None, rng.uniform(0, 0.15))])
        value = KEYS[number % TENANTS]
        streams = rng.random() < 0.7
        found.append(Asking(canary("prompt"), value, dialect, model, streams, at, after))
    return found


def answers(gateway: GatewayProcess, askings: list[Asking]) -> list[Told]:
    async def ask(crowd: Crowd, one: Asking) -> Told:
        return await crowd.ask(
            one.dialect,
            one.model,
            key=one.key,
            stream=one.stream,
            content=f"say {one.secret} again",
            max_tokens=30,
            leave_at=one.leave_at,
            leave_after_s=one.leave_after_s,
        )

    async def scene(crowd: Crowd) -> list[Told]:
        return await each(askings, lambda one: ask(crowd, one), at_once=AT_ONCE)

    return crowded(gateway.port, scene)


def said_by_call(upstream: Upstream) -> dict[str, str]:
    """Return whose prompt each answer of the provider was made for, by the answer's canary."""
    found = {}
    for call in upstream.calls:
        secrets = set(PATTERN.findall(call.raw_body.encode()))
        assert len(secrets) == 1, "a provider was sent two tenants' prompts"
        found[f"CANARY-answer-{call.n:08x}"] = secrets.pop().decode()
    return found


def foreign(askings: list[Asking], told: list[Told], made_for: dict[str, str]) -> list[str]:
    """Return every canary in an answer that is another's, and those that a whole answer lacks."""
    found = []
    for one, answer in zip(askings, told, strict=True):
        names = [name.decode() for name in PATTERN.findall(answer.body)]
        if answer.clean and answer.status == 200 and one.secret not in names:
            found.append(f"without {one.secret}")
        found += [name for name in names if made_for.get(name, name) != one.secret]
    return found

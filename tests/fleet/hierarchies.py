"""Draw hierarchies of budgets, and say on their own which of them bind a request."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.harness.config import Row, budget, key, tenant

NAMES: dict[str, Sequence[str]] = {  # what a request may name; "" is nothing
    "end_user": ("", "ada", "bob"),
    "tag.team": ("", "red", "blue"),
    "run": ("", "run-1"),
}
CHAINS = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One budget: whose it is, what it has a bucket for each of, how many requests it fits."""

    name: str
    owner: str  # tenant, a project's name or a key's name
    per: str
    fits: int

    def row(self, cost_nano: int) -> Row:
        nano = self.fits * cost_nano
        per = {"per": self.per} if self.per else {}
        return budget(f"{nano // 10**9}.{nano % 10**9:09d}", name=self.name, **per)


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for what; `names` says which end user, tag and run it names."""

    hierarchy: str
    project: str
    key: str
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A tenant with four projects of a key each: so many chains that share their upper end."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def keys(self) -> dict[str, str]:
        """Return the project of each key."""
        return {f"{self.name}-{n}": f"p{n}" for n in range(CHAINS)}

    def tenant(self, cost_nano: int, secret: Any) -> Row:
        def of(owner: str) -> list[Row]:
            return [rule.row(cost_nano) for rule in self.rules if rule.owner == owner]

        return tenant(
            self.name,
            budgets=of("tenant"),
            projects=[{"name": name, "budgets": of(name)} for name in self.keys.values()],
            keys=[
                key(name, secret(name), project=project, budgets=of(name))
                for name, project in self.keys.items()
            ],
        )

    def binding(self, request: Request) -> Iterator[tuple[Rule, str]]:
        """Yield each rule that binds a request, with the subject of its bucket."""
        for rule in self.rules:
            subject = request.names.get(rule.per, "")
            if rule.owner not in {"tenant", request.project, request.key}:
                continue
            if rule.per == "run" and not subject:
                continue
            yield rule, subject

    def requests(self, rng: random.Random, count: int) -> Iterator[Request]:
        for _ in range(count):
            key_name, project = rng.choice([*self.keys.items()])
            names = {per: rng.choice(values) for per, values in NAMES.items()}
            yield Request(self.name, project, key_name, names)


def drawn(rng: random.Random, name: str) -> Hierarchy:
    """Return a hierarchy; no request of it is bound by more budgets than an attempt may be."""
    below = [owner for n in range(CHAINS) for owner in (f"p{n}", f"{name}-{n}")]
    owners = ["tenant", "tenant", "tenant", *below]
    rules = tuple(
        Rule(f"{owner}-{n}", owner, rng.choice(("", "", *NAMES)), rng.randint(1, 12))
        for n, owner in enumerate(owners)
        if rng.random() < 0.7
    )
    return Hierarchy(name, rules)


def served_of(
    hierarchy: Hierarchy, requests: Sequence[tuple[Request, bool]]
) -> Counter[tuple[str, str]]:
    """Return how many served requests each bucket has to have paid."""
    return Counter(
        (rule.name, subject)
        for request, served in requests
        if served
        for rule, subject in hierarchy.binding(request)
    )

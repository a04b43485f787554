"""Say what the rules of a tenant are together: who looks at its requests, who at its answers."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec
from msgspec import Struct

from llm_gateway.guardrails.base import Recogniser
from llm_gateway.guardrails.patterns import Patterns, Words
from llm_gateway.guardrails.pii import Pii
from llm_gateway.guardrails.secrets import Secrets
from llm_gateway.guardrails.window import Looker
from tenants.types import GuardrailRule


class Guard(Struct, frozen=True):
    """The guardrails of a tenant; `version` tells what they would do from what others would."""

    rules: tuple[GuardrailRule, ...]
    recognisers: tuple[Recogniser, ...]
    version: str

    def lookers(self, side: str) -> list[Looker]:
        """Return who looks at one side (request, answer) of one call; they count for it alone."""
        return [
            Looker(rule.name, rule.kind, rule.action, side, recogniser)
            for rule, recogniser in zip(self.rules, self.recognisers, strict=True)
            if rule.on in {side, "both"}
        ]


@lru_cache(maxsize=256)
def guard_of(rules: tuple[GuardrailRule, ...]) -> Guard:
    """Return what these rules are together; the same rules are compiled once."""
    version = hashlib.sha256(msgspec.json.encode(rules)).hexdigest()[:16]
    return Guard(rules, tuple(map(_recogniser, rules)), version)


def _recogniser(rule: GuardrailRule) -> Recogniser:
    match rule.kind:
        case "secrets":
            return Secrets()
        case "pii":
            return Pii(rule.entities)
        case "pattern":
            return Patterns(rule.name, rule.patterns)
        case "words":
            return Words(rule.name, rule.words)


def told(lookers: Iterable[Looker]) -> list[Mapping[str, object]]:
    """Return what a decision record says of those who looked: never what they found."""
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "action": one.action,
            "on": one.side,
            "matches": one.matches,
        }
        for one in lookers
    ]

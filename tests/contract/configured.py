"""Name every model that the contract tests call, with the provider behind it.

Each exchange and each broken target has a provider of its own: what one answers must not make
another rest.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal, NamedTuple

from tests.contract.recordings import DOORS, OTHER, PATHS, Recording, everything
from tests.harness.canary import canary
from tests.harness.config import Row, budget, key, model, provider, route, tenant

KINDS = ("openai", "anthropic")
# Models of the scripted upstream that answer as a test scripts them, one of each dialect.
PLAIN = {kind: f"plain-{kind}" for kind in (*KINDS, "gemini")}
ODD = "org/gpt:beta@1"  # a model of Gemini's whose name has everything that names may hold
MAX_OUTPUT = 4096
POOR_KEY, LISTING_KEY = canary("api-key-without-money"), canary("api-key-usage-only")

SILENT = {kind: f"silent-{kind}" for kind in KINDS}  # models to be stalled: they give up soon
QUICK = {"connect": 1, "first_token": 0.4, "idle": 0.4, "total": 0.8}
# A provider of OpenAI's may have two protocols for chats: that of the exchange is the one to speak.
SPOKEN = {"/v1/chat/completions": "chat", "/v1/responses": "responses"}
CAN = ["stream", "tools", "vision", "json_schema", "reasoning", "prompt_caching"]
ONCE = {"max_attempts": 1}
STATUSES = (400, 401, 403, 404, 413, 418, 422, 429, 500, 502, 503, 504, 529)
FAULTS = ("429", "500", "529", "refused", "timeout")
SHAPES = ("whole", "streamed")


Ending = Literal["fin", "rst", "end"]  # the last of them cleanly
ENDINGS: tuple[Ending, ...] = ("fin", "rst", "end")


# Who asks, and whose stream is cut: all callers, of their own dialect and of another.
CUT_PAIRS = (
    *(("gemini", "gemini"), ("openai", "openai"), ("anthropic", "anthropic")),
    *(("responses", "openai"), ("completions", "openai")),
    *(("openai", "gemini"), ("anthropic", "gemini"), ("responses", "gemini")),
    *(("gemini", "anthropic"), ("responses", "anthropic"), ("openai", "anthropic")),
    *(("gemini", "openai"), ("anthropic", "openai")),
)
EVENTS = 6  # of a stream of Gemini's; all others are longer


class Cut(NamedTuple):
    """A model whose stream ends after `after` events; one for each case: it rests."""

    caller: str
    upstream: str
    how: Ending
    after: int

    @property
    def name(self) -> str:
        return "-".join(("cut", *map(str, self)))


def cuts() -> list[Cut]:
    """Return every place at which a stream of five words can be cut, and how."""
    found = product(CUT_PAIRS, ENDINGS, range(1, EVENTS + 1))
    return [Cut(*pair, how, after) for pair, how, after in found]


class Descent(NamedTuple):
    """A route whose first target suffers `fault`, while the second speaks this dialect."""

    fault: str
    caller: str
    second: str
    shape: str  # whole or streamed: a route for each, since what failed rests

    @property
    def first(self) -> str:
        return OTHER[self.second]

    @property
    def name(self) -> str:
        return "-".join(("down", *self))

    @property
    def broken(self) -> str:
        return f"{self.name}-1st"


class Failing(NamedTuple):
    """A model whose provider answers with `status`; one for each caller, since some then rest."""

    status: int
    upstream: str
    caller: str

    @property
    def name(self) -> str:
        return f"fails-{self.status}-{self.upstream}-for-{self.caller}"


SDK_FAILS = {status: f"sdk-fails-{status}" for status in STATUSES}
SDK_BREAKS = {kind: f"sdk-breaks-{kind}" for kind in PLAIN}


def failing_models() -> list[Failing]:
    return [Failing(*values) for values in product(STATUSES, KINDS, KINDS)]


def descents() -> list[Descent]:
    return [Descent(*values) for values in product(FAULTS, KINDS, KINDS, SHAPES)]


def sections(upstream_url: str, replay_url: str | None, refusing_url: str) -> dict[str, Any]:
    """Return all sections of the configuration; without `replay_url` there are no recordings."""
    ours, replayed = _base_urls(upstream_url), replay_url or upstream_url
    rows = (
        [_served(name, kind, ours) for kind, name in PLAIN.items()]
        + [(provider("p-odd", "gemini", ours["gemini"]), model(ODD, "p-odd"))]
        + [_served(SILENT[kind], kind, ours, timeouts=QUICK, retry=ONCE) for kind in KINDS]
        + [_played(row, upstream_url if row.golden else replayed) for row in everything(*DOORS)]
        + [
            _broken(case, _base_urls(refusing_url) if case.fault == "refused" else ours)
            for case in descents()
        ]
        + [_served(case.name, case.upstream, ours, retry=ONCE) for case in failing_models()]
        + [_served(case.name, case.upstream, ours, retry=ONCE) for case in cuts()]
        # Of the SDK's own tests: what fails for one of them may rest when another asks.
        + [_served(name, "openai", ours, retry=ONCE) for name in SDK_FAILS.values()]
        + [_served(name, kind, ours, retry=ONCE) for kind, name in SDK_BREAKS.items()]
    )
    rich = tenant(
        budgets=[budget("1000.00", hard=False)],
        keys=[key(), key("listing", LISTING_KEY, scopes=["usage"])],
    )
    poor = tenant("poor", budgets=[budget("0.000001")], keys=[key("poor", POOR_KEY)])
    return {
        "providers": [made for made, _ in rows],
        "models": [made for _, made in rows],
        "routes": [route(case.name, case.broken, PLAIN[case.second]) for case in descents()],
        "tenants": [rich, poor],
    }


def _base_urls(address: str) -> dict[str, str]:
    return {"openai": f"{address}/v1", "anthropic": address, "gemini": address}


def _served(name: str, kind: str, base_urls: Mapping[str, str], **fields: Any) -> tuple[Row, Row]:
    return provider(f"p-{name}", kind, base_urls[kind], **fields), _model(name)


def _played(row: Recording, address: str) -> tuple[Row, Row]:
    # The scripted upstream knows no paths of Azure's but the newer ones, which are all others'.
    under = "/v1" if row.golden and row.sdk == "openai" else DOORS[row.api].under
    made = provider(f"p-{row.id}", row.kind, address + under, retry=ONCE)
    spoken = SPOKEN.get(PATHS[row.api])
    can = {} if spoken is None else {"capabilities": [spoken, *CAN]}
    name = row.id if row.golden else f"rec:{row.id}"
    return made, _model(row.id, upstream_name=name, **can)


def _broken(case: Descent, base_urls: Mapping[str, str]) -> tuple[Row, Row]:
    timeouts = {"timeouts": QUICK} if case.fault == "timeout" else {}
    return _served(case.broken, case.first, base_urls, **timeouts)


def _model(name: str, **fields: Any) -> Row:
    """Return a model that may whatever its provider's protocol can do."""
    made = model(name, f"p-{name}", max_output_tokens=MAX_OUTPUT)
    del made["capabilities"], made["context_window"]
    return made | fields

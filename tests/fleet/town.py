"""Configure the fleet once for all: each promise has tenants and models of its own."""

from collections.abc import Sequence
from random import Random

from tests.fleet.hierarchies import CHAINS, drawn
from tests.harness.config import (
    SINCE,
    Row,
    anthropic_provider,
    budget,
    configuration,
    key,
    model,
    openai_provider,
    provider,
    route,
    tenant,
)

# --- M10: rates

RATES = {"requests_per_minute": 100, "tokens_per_minute": 4000, "concurrency": 4}
MODEL_RATES = {"requests_per_minute": 100, "tokens_per_minute": 100_000, "concurrency": 40}
FITS = 3  # requests of whom has little money
FREE_INPUT = ("0", "4.00")
TOKENS = 8  # of an answer that nobody scripted
COST_NANO = TOKENS * 4000
RATED = [
    model("rated", price=FREE_INPUT),
    model("rated-itself", price=FREE_INPUT, rate_limits=MODEL_RATES),
]


def dollars(nano: int) -> str:
    return f"{nano // 10**9}.{nano % 10**9:09d}"


def secret(name: str) -> str:
    """Return the value of the inference key of that name."""
    return f"CANARY-api-key-{name}-00000000000000000000000000000000"


def keyed(name: str, **fields: object) -> Row:
    return key(name, secret(name), **fields)


def rated() -> list[Row]:
    poor = [budget(dollars(FITS * COST_NANO))]
    return [
        tenant(
            "rated",
            keys=[
                keyed("rated-all", rate_limits=RATES),
                keyed("rated-tokens", rate_limits={"tokens_per_minute": 4000}),
                *(
                    keyed(name, rate_limits={"requests_per_minute": 60}, budgets=poor)
                    for name in ("rated-poor", "rated-poor-too")
                ),
                keyed("rated-not"),
            ],
        )
    ]


# --- M11: slots

SLOTS = 4
BROKEN = 75  # deployments that fail now and then, too seldom to open a circuit
SLOTTED = [model(name) for name in ("slot", *(f"slot-{n}" for n in range(BROKEN)))]


def slotted() -> list[Row]:
    narrow = {"concurrency": SLOTS}
    names = ("slotted", "slotted-killed")
    return [tenant("slotted", keys=[keyed(name, rate_limits=narrow) for name in names])]


# --- M6: owners of budgets

OWNED_COST_NANO = COST_NANO
OWNED = [model("owned", price=FREE_INPUT)]
CHAIN = ("tenant", "project", "key", "end_user", "tag", "run")
CHAIN_FITS = 3
HIERARCHIES = [drawn(Random(n), f"tree-{n}") for n in range(100 // CHAINS)]


def chain(tight: str) -> Row:
    """Return a tenant with a budget at every level, of which one is tight."""

    def limited(level: str, **fields: object) -> list[Row]:
        is_tight = level == tight or (tight == "control" and level == "tenant")
        fits, name = (CHAIN_FITS, "tight") if is_tight else (1000, "wide")
        return [budget(dollars(fits * OWNED_COST_NANO), name=f"{name}-{level}", **fields)]

    return tenant(
        f"chain-{tight}",
        budgets=[
            *limited("tenant"),
            *limited("end_user", per="end_user"),
            *limited("tag", per="tag.team"),
            *limited("run", per="run"),
        ],
        projects=[{"name": "search", "budgets": limited("project")}],
        keys=[keyed(f"chain-{tight}", project="search", budgets=limited("key"))],
    )


def first_uses() -> list[Row]:
    """Return tenants with a bucket for each of somebody, who may be unknown."""
    limit = dollars(CHAIN_FITS * OWNED_COST_NANO)
    return [
        tenant(f"first-{per}", budgets=[budget(limit, per=per)], keys=[keyed(f"first-{per}")])
        for per in ("end_user", "tag.team", "run")
    ]


def owned() -> list[Row]:
    chains = [chain(tight) for tight in (*CHAIN, "control", "wide")]
    trees = [tree.tenant(OWNED_COST_NANO, secret) for tree in HIERARCHIES]
    return [*first_uses(), *chains, *trees]


# --- M9: numbers

NUMBERS_INPUT_NANO, NUMBERS_OUTPUT_NANO = 1000, 4000  # a token
NUMBERED = [
    model("numbers"),
    model("numbers-claude", "anthropic", price=("1.00", "4.00")),
    model(
        "numbers-search",
        "anthropic",
        prices=[{"from": SINCE, "input": "1.00", "output": "4.00", "tool_call": "0.01"}],
    ),
]


def numbers() -> list[Row]:
    """Return a tenant whom nothing limits, and a key of it that has a hard budget."""
    rich = [budget("1.00", name="rich")]
    return [tenant("numbers", keys=[keyed("numbers"), keyed("numbers-hard", budgets=rich)])]


# --- M5: doors

DOORED = [
    model("door"),
    model("door-too"),
    model("door-embed", capabilities=["embeddings"]),
    model("door-moderate", "lists", capabilities=["moderations"]),
    model("door-rerank", "lists", capabilities=["rerank"]),
    model("door-batch", "anthropic", capabilities=["chat", "batches"]),
    model("door-lines", capabilities=["chat", "batches"]),
]
for _row in DOORED[3:]:
    _row["prices"][0] |= {"request": "0.01", "tool_call": "0.01"}


def doored() -> list[Row]:
    """Return a tenant with money and one whose budget is used up from the start."""
    return [
        tenant("door-rich", keys=[keyed("door-rich")], budgets=[budget("100.00")]),
        tenant("door-broke", keys=[keyed("door-broke")], budgets=[budget("0")]),
    ]


# --- M3: bills

BILLED = 20  # deployments of each kind, so that no circuit hides what is counted here
HURRIED: Row = {
    "retry": {"max_attempts": 3, "initial_delay": 0.01, "jitter": 0},
    "timeouts": {"first_token": 2.0, "idle": 2.0, "total": 10},
    "circuit_breaker": {"failure_threshold": 1_000_000},
}
BILLS = {"openai": ("1.00", "4.00"), "anthropic": ("3.00", "15.00")}
BILLING = [
    model(name, f"billed-{kind}", price=price)
    for kind, price in BILLS.items()
    for name in (f"second-{kind}", *(f"bill-{kind}-{n}" for n in range(BILLED)))
]


def billing_routes() -> list[Row]:
    return [
        route(f"bill-{kind}-{n}-or-second", f"bill-{kind}-{n}", f"second-{kind}")
        for kind in BILLS
        for n in range(BILLED)
    ]


def billed() -> list[Row]:
    return [tenant("billed", keys=[keyed("billed")], budgets=[budget("1000")])]


# --- all of it

PRICED = [*RATED, *SLOTTED, *OWNED, *NUMBERED, *DOORED, *BILLING]


def town(upstream_url: str, models: Sequence[Row] = PRICED, tenants: Sequence[Row] = ()) -> Row:
    """Return the whole configuration, or that of one promise alone."""
    # A breaker would only hide what is counted here.
    once: Row = {
        "retry": {"max_attempts": 1},
        "circuit_breaker": {"failure_threshold": 1_000_000},
    }
    return configuration(
        upstream_url,
        providers=[
            openai_provider(upstream_url, **once),
            anthropic_provider(upstream_url, **once),
            openai_provider(upstream_url, "billed-openai", **HURRIED),
            anthropic_provider(upstream_url, "billed-anthropic", **HURRIED),
            provider("lists", "openai_compatible", f"{upstream_url}/v1", **once),
        ],
        models=[*models],
        routes=[] if tenants else billing_routes(),
        tenants=[*(tenants or (*rated(), *slotted(), *owned(), *numbers(), *doored(), *billed()))],
    )

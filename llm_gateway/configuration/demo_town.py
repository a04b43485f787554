"""Make a configuration to look around in: providers that are played, tenants with a life.

`HABITS` says how each key of it asks; `management.history` makes traffic of that.
"""

from msgspec import Struct

from llm_gateway.configuration import schema
from llm_gateway.configuration.demo_providers import Fields, price_fields
from llm_gateway.configuration.document import read

_CHAT = ["chat", "stream", "tools", "json_schema", "vision"]
# Provider, model, dollars per million tokens of input, output and cached input, window, quality.
_MODELS = (
    ("played-openai", "gpt-5", "1.25", "10.00", "0.125", 400_000, 92),
    ("played-openai", "gpt-5-mini", "0.25", "2.00", "0.025", 400_000, 78),
    ("played-anthropic", "claude-sonnet-4-5", "3.00", "15.00", "0.30", 200_000, 93),
    ("played-anthropic", "claude-haiku-4-5", "1.00", "5.00", "0.10", 200_000, 80),
    ("played-google", "gemini-2.5-flash", "0.30", "2.50", "0.075", 1_000_000, 76),
)
_EMBEDDING = "text-embedding-3-small"


class Habit(Struct, frozen=True, kw_only=True):
    """How one key asks. `share` of all traffic; tokens are medians; `night` of what the day has."""

    tenant: str
    key: str
    share: float
    models: dict[str, float]
    input_tokens: int
    output_tokens: int
    cached: float = 0.0  # of the input, where anything is
    night: float = 0.1
    weekend: float = 0.2
    end_users: int = 0
    tags: dict[str, tuple[str, ...]] = {}
    streams: float = 0.5
    hits: float = 0.0  # answered from the cache


HABITS = (
    Habit(
        tenant="acme",
        key="support-bot",
        share=0.42,
        models={"gpt-5-mini": 0.8, "helpful": 0.2},
        input_tokens=1800,
        output_tokens=180,
        cached=0.6,
        night=0.4,
        weekend=0.8,
        end_users=60,
        tags={"team": ("support",), "env": ("prod",)},
        streams=0.9,
        hits=0.12,
    ),
    Habit(
        tenant="acme",
        key="search",
        share=0.24,
        models={_EMBEDDING: 1.0},
        input_tokens=600,
        output_tokens=0,
        night=0.6,
        weekend=0.7,
        tags={"team": ("search",), "env": ("prod", "prod", "dev")},
        streams=0.0,
    ),
    Habit(
        tenant="acme",
        key="editor",
        share=0.12,
        models={"claude-sonnet-4-5": 0.75, "claude-haiku-4-5": 0.25},
        input_tokens=9000,
        output_tokens=700,
        cached=0.8,
        night=0.05,
        weekend=0.1,
        end_users=14,
        tags={"team": ("platform", "search", "support")},
        streams=1.0,
    ),
    Habit(
        tenant="globex",
        key="reports",
        share=0.14,
        models={"gpt-5": 0.4, "gemini-2.5-flash": 0.6},
        input_tokens=14_000,
        output_tokens=1200,
        night=1.2,
        tags={"report": ("daily", "weekly", "board")},
        streams=0.1,
    ),
    Habit(
        tenant="globex",
        key="lab",
        share=0.08,
        models={"gpt-5": 0.5, "claude-sonnet-4-5": 0.3, "gemini-2.5-flash": 0.2},
        input_tokens=2500,
        output_tokens=900,
        night=0.02,
        weekend=0.05,
        end_users=5,
        streams=0.6,
    ),
)


def demo_town() -> schema.File:
    """Return the configuration."""
    return read(
        schema.File,
        {
            "version": 1,
            "providers": [_provider(name) for name in dict.fromkeys(row[0] for row in _MODELS)],
            "models": [*map(_model, _MODELS), _embedding()],
            "routes": [
                {
                    "name": "helpful",
                    "strategy": "fallback",
                    "targets": [{"model": "claude-haiku-4-5"}, {"model": "gpt-5-mini"}],
                }
            ],
            "tenants": [_acme(), _globex()],
        },
    )


def _provider(name: str) -> Fields:
    return {"name": name, "kind": "mock", "mock": {"word_delay": 0.02}}


def _model(row: tuple[str, str, str, str, str, int, int]) -> Fields:
    provider, name, read_price, written, cached, window, quality = row
    return {
        "name": name,
        "provider": provider,
        "context_window": window,
        "max_output_tokens": 16_384,
        "capabilities": _CHAT,
        "quality": quality,
        "prices": [{**price_fields(read_price, written), "cache_read": cached}],
    }


def _embedding() -> Fields:
    return {
        "name": _EMBEDDING,
        "provider": "played-openai",
        "context_window": 8192,
        "capabilities": ["embeddings"],
        "prices": [price_fields("0.02")],
    }


def _acme() -> Fields:
    return {
        "name": "acme",
        "time_zone": "Europe/Berlin",
        "cache": {"enabled": True, "ttl": 3600},
        "budgets": [
            {"name": "monthly", "limit": "26.00", "period": "month", "soft": [0.5, 0.8, 0.95]},
            {"name": "each-user", "limit": "0.50", "period": "day", "per": "end_user"},
        ],
        "rate_limits": {"requests_per_minute": 1200, "concurrency": 50},
        "projects": [
            {"name": "support", "budgets": [{"name": "support", "limit": "0.30", "period": "day"}]},
            {"name": "search"},
            {"name": "platform"},
        ],
        "members": [
            {"email": "olga@acme.test", "role": "owner"},
            {"email": "adam@acme.test", "role": "admin"},
            {"email": "vera@acme.test", "role": "viewer"},
        ],
        "keys": [
            {"name": "support-bot", "project": "support"},
            {"name": "search", "project": "search"},
            {"name": "editor", "project": "platform"},
        ],
    }


def _globex() -> Fields:
    return {
        "name": "globex",
        "time_zone": "America/New_York",
        "budgets": [
            {"name": "weekly", "limit": "8.00", "period": "week", "soft": [0.8]},
            {"name": "gpt-5", "limit": "22.00", "period": "month", "model": "gpt-5"},
        ],
        "members": [{"email": "gina@globex.test", "role": "owner"}],
        "keys": [{"name": "reports"}, {"name": "lab"}],
    }

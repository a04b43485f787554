"""One gateway before providers with words or accents of their own, each with one answer to give.

Each golden case and each recording has a provider of its own, as its kind is in the catalogue.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from llm_gateway.adapters import UPSTREAMS
from llm_gateway.adapters.framing import framer_for
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import speech_at
from llm_gateway.types import Event, Facts
from tests.contract.configured import CAN
from tests.contract.recordings import GOLDEN, Reply, send
from tests.harness.canary import canary
from tests.harness.config import Row, budget, configuration, key, model, provider, tenant
from tests.harness.gateway import GatewayProcess
from tests.harness.playing import Played, PlayedProviders
from tests.unit.adapters import golden_providers
from tests.unit.adapters.golden_providers import Case
from tests.unit.adapters.recordings import ACCENTS, FOLDER

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "anthropic_messages": "/v1/messages",
    "openai_responses": "/v1/responses",
    "gemini": "/v1beta/models/{model}:{method}",
    "openai_embeddings": "/v1/embeddings",
    "openai_moderations": "/v1/moderations",
    "cohere_rerank": "/v1/rerank",
}
TYPES = {
    "upstream.sse": "text/event-stream",
    "upstream.ndjson": "application/x-ndjson",
    "upstream.events.json": "application/vnd.amazon.eventstream",
}
PAIR, BEARER = "AKIDEXAMPLE:" + canary("secret-access-key"), canary("bedrock-api-key")
POOR = canary("api-key-without-money")
INPUT, OUTPUT, SEARCH = Decimal("0.000001"), Decimal("0.000002"), Decimal("0.002")
PRICES = [{"from": "2020-01-01", "input": "1.00", "output": "2.00", "tool_call": "0.002"}]
# What recordings are of, beside OpenAI's protocol with an accent: kind and address.
NATIVE = {
    "bedrock.converse": ("bedrock", ""),
    "cohere.chat": ("cohere", ""),
    "cohere.embed": ("cohere", ""),
    "ollama.chat": ("ollama", ""),
    "openai.moderations": ("openai", ""),
}
AZURE = "azure_openai"


class Recorded(NamedTuple):
    """One exchange of a provider."""

    id: str
    api: str
    kind: str
    address: str
    request: dict[str, Any]
    status: int
    content_type: str
    said: Any  # a stream's text, or what a JSON body says
    breaks: bool

    @property
    def body(self) -> bytes:
        return self.said.encode() if self.streamed else json.dumps(self.said).encode()

    @property
    def streamed(self) -> bool:
        return isinstance(self.said, str)

    @property
    def adapter(self) -> str:
        if self.api.endswith(("embed", "moderations")):
            return self.api.replace(".", "_")
        return speech_at(CATALOG[self.kind], self.address, {}).adapters["chat"]

    @property
    def is_chat(self) -> bool:
        return "chat" in self.api or self.api == "bedrock.converse"

    def events(self) -> tuple[list[Event], Facts]:
        upstream: Any = UPSTREAMS[self.adapter]
        framer = framer_for(self.content_type)
        if framer is None:
            found: tuple[list[Event], Facts] = upstream.read_answer(self.body)
            return found
        frames = framer.feed(self.body)
        return golden_providers.read(upstream, [*frames, b""])


def recorded() -> list[Recorded]:
    """Return every recording of these providers; none where the folder is not here."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        data = json.loads(path.read_bytes())
        if (api := data["api"]) in (known := {**NATIVE, **ACCENTS}):
            answer = data["response"]
            found.append(
                Recorded(
                    data["id"],
                    api,
                    *known[api],
                    request=data["request"]["body"],
                    status=answer["status"],
                    content_type=answer["headers"].get("content-type", "application/json"),
                    said=answer["body"],
                    breaks="error_in_stream" in data["features"],
                )
            )
    return found


CASES = golden_providers.cases()
# Operations that are never translated: their golden cases are of callers' own dialects.
WHOLE = [
    GOLDEN / adapter / case.name
    for adapter in ("cohere_rerank", "openai_moderations")
    for case in sorted((GOLDEN / adapter).iterdir())
]
RECORDED = recorded()


def name_of(case: Case | Path | Recorded) -> str:
    if isinstance(case, Recorded):
        return case.id
    return (case.id if isinstance(case, Case) else f"{case.parent.name}/{case.name}").replace(
        "/", "--"
    )


def played(case: Case) -> Played:
    streamed = case.stream
    if streamed is None:
        return Played((case.folder / "upstream.json").read_bytes(), "application/json")
    kind = next(TYPES[name] for name in TYPES if (case.folder / name).exists())
    return Played(streamed[0], kind)


class Town:
    """The gateway and the providers that are played for it."""

    def __init__(self, gateway: GatewayProcess, providers: PlayedProviders) -> None:
        self.gateway, self.providers = gateway, providers

    def ask(
        self,
        dialect: str,
        body: Any,
        secret: str | None = None,
        *,
        model: str = "",
        stream: bool = False,
    ) -> Reply:
        """Ask as a client of this dialect does; `model` and `stream` where they stand there."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        path = PATHS[dialect]
        if "{model}" in path:
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path = path.format(model=model, method=method)
        elif model:
            body = {**body, "model": model, **({"stream": True} if stream else {})}
        return send(self.gateway.url, path, body, headers)

    def asked(self, name: str) -> dict[str, Any]:
        last = self.providers.asked[name]
        return {"path": last.path, "body": json.loads(last.body)}


def answers() -> dict[str, Played]:
    whole = {
        name_of(case): Played((case / "upstream.json").read_bytes(), "application/json")
        for case in WHOLE
    }
    bearer = next(case for case in CASES if case.kind == "bedrock" and case.stream is None)
    return {
        **{name_of(case): played(case) for case in CASES},
        **{row.id: Played(row.body, row.content_type, row.status) for row in RECORDED},
        **whole,
        "bearer": played(bearer),
    }


def rows(providers: PlayedProviders) -> tuple[list[Row], list[Row]]:
    kinds = {name_of(case): (case.kind, "") for case in CASES}
    kinds |= {row.id: (row.kind, "/v1" * row.address.endswith("/v1")) for row in RECORDED}
    kinds |= {name_of(case): ("openai_compatible", "") for case in WHOLE}
    kinds |= {"bearer": ("bedrock", "")}
    # Some have two protocols for chats: what was recorded is in this one.
    chats = {row.id for row in RECORDED if row.is_chat}
    made, models = [], []
    for name, (kind, under) in kinds.items():
        own: dict[str, Any] = {"retry": {"max_attempts": 1}}
        if kind == "bedrock":
            secret = BEARER if name == "bearer" else PAIR
            own |= {"options": {"region": "eu-central-1"}, "keys": [{"value": secret}]}
        elif kind == AZURE:
            own |= {"options": {"api_version": "2025-04-01-preview"}}
        made.append(provider(f"p-{name}", kind, providers.base_url(name) + under, **own))
        row = model(name, f"p-{name}", upstream_name="upstream-name", prices=PRICES)
        if name in chats:
            row["capabilities"] = ["chat", *CAN]
        else:
            del row["capabilities"]
        models.append(row | {"context_window": golden_providers.WINDOW})
    return made, models


@contextmanager
def opened(gateway: GatewayProcess) -> Iterator[Town]:
    with PlayedProviders(answers()) as providers:
        made, models = rows(providers)
        rich = tenant(budgets=[budget("1000.00", hard=False)])
        poor = tenant("poor", budgets=[budget("0.000000001")], keys=[key("poor", POOR)])
        sections = {"providers": made, "models": models, "routes": [], "tenants": [rich, poor]}
        gateway.apply(configuration("http://127.0.0.1:9", **sections))
        yield Town(gateway.serve(), providers)


NAMING = {
    *("id", "created", "model", "item_id", "created_at", "completed_at"),
    *("responseId", "modelVersion"),
}
HOLDING = {"message", "response", "item", "output"}


def datas(stream: bytes) -> list[Any]:
    """Return what each event of a stream says."""
    found = re.findall(rb"^data: (.*)$", stream, flags=re.MULTILINE)
    return [one.decode() if one == b"[DONE]" else json.loads(one) for one in found]


def bare(value: Any) -> Any:
    """Return an answer or an event without what names it alone: ids, times, model."""
    if isinstance(value, list):
        return [bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {name: item for name, item in value.items() if name not in NAMING}
    return {name: bare(item) if name in HOLDING else item for name, item in kept.items()}

"""Read exchanges with providers, recorded ones and our own golden ones, and send one's request."""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from llm_gateway.adapters import CHAT_ADAPTERS
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.row import speech_at
from tests.harness.config import API_KEY
from tests.harness.processes import PROJECT
from tests.harness.replay import RECORDINGS
from tests.unit.adapters import golden_providers

GOLDEN = PROJECT / "tests" / "golden"


class Door(NamedTuple):
    """Where an api is asked for at the gateway, and who answers: a kind of the catalogue.

    `under`: what the provider's own SDK has behind its address. `sdk`: whose reads the answers.
    """

    path: str
    kind: str
    under: str = "/v1"
    sdk: str = "openai"


def _compatible(kind: str, under: str = "/v1") -> Door:
    return Door("/v1/chat/completions", kind, under)


def _gemini(method: str) -> Door:
    return Door(f"/v1beta/models/{{model}}:{method}", "gemini", "", "gemini")


# Every api that callers speak too. Recordings of the others are crossed only.
DOORS = {
    "openai.chat": _compatible("openai"),
    "openai.responses": Door("/v1/responses", "openai"),
    "openai.completions": Door("/v1/completions", "openai"),
    "openai.embeddings": Door("/v1/embeddings", "openai"),
    "openai.moderations": Door("/v1/moderations", "openai"),
    "anthropic.messages": Door("/v1/messages", "anthropic", "", "anthropic"),
    "anthropic.count_tokens": Door("/v1/messages/count_tokens", "anthropic", "", "anthropic"),
    "gemini.generateContent": _gemini("generateContent"),
    "gemini.streamGenerateContent": _gemini("streamGenerateContent?alt=sse"),
    "gemini.countTokens": _gemini("countTokens"),
    "gemini.embedContent": _gemini("embedContent"),
    "gemini.batchEmbedContents": _gemini("batchEmbedContents"),
    "vertex.generateContent": _gemini("generateContent"),
    "azure.chat": _compatible("azure_openai", ""),
    "cerebras.chat": _compatible("cerebras"),
    "deepseek.chat": _compatible("deepseek"),
    "groq.chat": _compatible("groq"),
    "huggingface.chat": _compatible("huggingface"),
    "mistral.chat": _compatible("mistral"),
    "ollama.openai_chat": _compatible("ollama"),
    "openrouter.chat": _compatible("openrouter"),
    "perplexity.chat": _compatible("perplexity"),
    "together.chat": _compatible("together"),
    "xai.chat": _compatible("xai"),
    "zai.chat": _compatible("zai"),
}
PATHS = {api: door.path for api, door in DOORS.items()}
GEMINI_CHATS = ("gemini.generateContent", "gemini.streamGenerateContent")
GEMINI = tuple(api for api, door in DOORS.items() if door.sdk == "gemini")
# Those with OpenAI's and Anthropic's words, accents included.
PLAIN_APIS = tuple(api for api in DOORS if api not in GEMINI)
CHATS = ("openai.chat", "anthropic.messages")
API = {"openai": "openai.chat", "anthropic": "anthropic.messages"}
OTHER = {"openai": "anthropic", "anthropic": "openai"}
# An error is no answer; and no provider of these tests keeps what this one goes on from.
UNPLAYED = {"error_in_stream", "failed_stream", "state_kept_by_the_provider"}
# Golden streams that the gateway is there to mend: an SDK reads them from nobody else.
UNREADABLE = (
    "nested_model_and_spaces", "odd_lines", "usage_not_asked_for", "completions-text_stream",
)  # fmt: skip


_ERROR = 400


class Recording(Struct, frozen=True):
    """One exchange as a provider had it, or as we wrote it in the provider's shapes."""

    id: str
    api: str
    request: dict[str, Any]
    status: int
    response: Any
    features: list[str]
    golden: bool = False
    relayed: Any = None  # what a golden case says a caller of its own dialect gets

    @property
    def streamed(self) -> bool:
        return self.status < 400 and isinstance(self.response, str)

    @property
    def kind(self) -> str:
        """The provider, as the catalogue names it."""
        return DOORS[self.api].kind

    @property
    def sdk(self) -> str:
        """Whose official SDK reads the answer."""
        return DOORS[self.api].sdk

    @property
    def asks_for_usage(self) -> bool:
        """Say whether the gateway asks this provider's streams for their usage."""
        speech = speech_at(CATALOG[self.kind], DOORS[self.api].under, {})
        return speech.quirks.include_usage and PATHS[self.api].endswith("/completions")

    @property
    def breaks(self) -> bool:
        return "error_in_stream" in self.features


# Golden cases too short for a folder.
OURS = (
    Recording(
        "golden-anthropic-count-tokens",
        "anthropic.count_tokens",
        {"messages": [{"role": "user", "content": "one two three"}], "system": "Count."},
        200,
        {"input_tokens": 14},
        [],
        golden=True,
    ),
    Recording(
        "golden-gemini-count-tokens",
        "gemini.countTokens",
        {"contents": [{"role": "user", "parts": [{"text": "one two three"}]}]},
        200,
        {
            "totalTokens": 3,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
        },
        [],
        golden=True,
    ),
    Recording(
        "golden-ollama-chat",
        "ollama.openai_chat",
        {"messages": [{"role": "user", "content": "hi"}]},
        200,
        {
            "id": "chatcmpl-7",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "small:1b",
            "system_fingerprint": "fp_ollama",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hö", "reasoning": "Say hi."},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
        },
        [],
        golden=True,
    ),
)


class Reply(Struct, frozen=True):
    """What the gateway answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def recordings(*apis: str) -> list[Recording]:
    """Return the recordings of these apis; none where the folder is not here."""
    if not RECORDINGS.is_dir():
        return []
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        row = json.loads(path.read_text())
        if row["api"] in apis:
            answer = row["response"]
            found.append(
                Recording(
                    row["id"],
                    row["api"],
                    row["request"]["body"],
                    answer["status"],
                    answer["body"],
                    row["features"],
                )
            )
    return found


def recorded_errors(*apis: str) -> list[Recording]:
    """Return the recordings of errors, or one that stands for their absence.

    The test asks for `replay_upstream` before anything else, and that names the leg as absent.
    """
    found = [row for row in recordings(*apis) if row.status >= _ERROR]
    return found or [Recording("absent", apis[0], {}, _ERROR, None, [])]


def golden(*apis: str) -> list[Recording]:
    """Return the golden cases of these apis; an error inside a stream is no answer."""
    found = []
    for path in sorted(GOLDEN.glob("*/*/request.json")):
        folder = path.parent
        api = _api(folder)
        if api not in apis or folder.name in UNPLAYED:
            continue
        found.append(
            Recording(
                f"golden-{folder.parent.name.replace('_', '-')}-{folder.name}",
                api,
                json.loads(path.read_text()),
                200,
                _body(folder, "upstream"),
                [],
                golden=True,
                relayed=_body(folder, f"client.{folder.parent.name}"),
            )
        )
    return found + [row for row in (*_accents(), *OURS) if row.api in apis]


def _accents() -> list[Recording]:
    """Return what providers with an accent of OpenAI's say in golden cases, to whoever asks."""
    chats = {door.kind: api for api, door in DOORS.items() if door.path == PATHS["openai.chat"]}
    found = []
    for case in golden_providers.cases():
        api = chats.get(case.kind)
        if api is None or case.dialect not in CHAT_ADAPTERS or case.upstream.name != "openai_chat":
            continue
        streamed = case.stream is not None
        request: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
        if streamed:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        features = ["error_in_stream"] * ("error" in case.folder.name)
        name = f"golden-{case.id.replace('/', '-').replace('_', '-')}"
        body = _body(case.folder, "upstream")
        found.append(Recording(name, api, request, 200, body, features, golden=True))
    return found


def _api(folder: Path) -> str:
    """Return which api a golden case is of; Gemini has a method for each shape."""
    dialect = folder.parent.name
    if dialect == "gemini":
        return GEMINI_CHATS[(folder / "upstream.sse").exists()]
    if dialect == "gemini_embeddings":
        many = "requests" in json.loads((folder / "request.json").read_text())
        return "gemini.batchEmbedContents" if many else "gemini.embedContent"
    return dialect.replace("_", ".", 1)


def _body(folder: Path, stem: str) -> Any:
    """Return a stream as text, a whole answer as what its JSON says."""
    stream = folder / f"{stem}.sse"
    if stream.exists():
        return stream.read_bytes().decode()
    return json.loads((folder / f"{stem}.json").read_text())


def everything(*apis: str) -> list[Recording]:
    return golden(*apis) + recordings(*apis)


def identifier(row: Recording) -> str:
    return row.id


def send(url: str, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Post JSON, as a client without an SDK does."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(
            "POST",
            path,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {API_KEY}", **(headers or {})},
        )
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()

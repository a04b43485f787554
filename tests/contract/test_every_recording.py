"""No recording is left out: each goes through its own dialect, or stands here with the reason."""

from collections.abc import Iterable

from tests.contract import test_gemini_same_dialect as gemini
from tests.contract import test_providers_recorded as providers
from tests.contract import test_same_dialect as plain
from tests.contract import test_sdks_across as across
from tests.contract.recordings import DOORS, Recording, recordings
from tests.contract.town import RECORDED
from tests.harness.replay import RECORDINGS, ReplayUpstream

# No caller speaks these: what their providers say crosses (test_providers_recorded).
NO_CALLER = {
    "bedrock-converse-n-error-handling-with-bedrock-amazon-nova-848ce2",
    "bedrock-converse-n-model-name-suggestion-bedrock-bfc149",
    "cohere-chat-n-error-handling-with-cohere-command-a-03-995886",
    "cohere-chat-n-real-error-scenarios-cohere-command-a-03-e5d4aa",
    "cohere-chat-s-citations-with-cohere-command-a-plus-05-d711bd",
    "cohere-chat-s-function-calling-cohere-command-a-03-202-9d3b91",
    "cohere-embed-n-embedding-basic-functionality-cohere-emb-e9fad6",
    "cohere-embed-n-testcohere-test-embed-error-4ea391",
    "ollama-chat-n-error-records-model-name-4625b8",
    "ollama-chat-n-with-tool-call-105780",
    "ollama-chat-s-ollama-streaming-chat-legacy-dc5424",
    "ollama-chat-s-stream-8fb02d",
}
# Of older endpoints, which their providers keep beside those that are called.
NOT_CALLED = {
    "cohere-chat-v1-n-agent-with-multiple-tools-7c9cc6": "/v1/chat, superseded by /v2/chat",
    "ollama-generate-s-ollama-streaming-metrics-e06020": "/api/generate, no chat: /api/chat is",
}


def ids(rows: Iterable[Recording]) -> set[str]:
    return {row.id for row in rows if not row.golden}


def test_every_recording_goes_through_its_own_dialect(replay_upstream: ReplayUpstream) -> None:
    assert replay_upstream.base_url
    here = {path.stem for path in RECORDINGS.glob("*.json")}
    asked = ids([*plain.GOOD, *plain.BROKEN, *plain.FAILED, *gemini.GOOD, *gemini.FAILED])
    assert asked.isdisjoint(NO_CALLER | set(NOT_CALLED))
    assert asked | NO_CALLER | set(NOT_CALLED) == here


def test_what_no_caller_speaks_crosses(replay_upstream: ReplayUpstream) -> None:
    assert replay_upstream.base_url
    crossed = [*providers.CHATS, *providers.EMBEDDED, *providers.FAILED, *providers.BROKEN]
    assert {row.id for row in crossed} >= NO_CALLER
    assert {row.id for row in RECORDED if row.api not in DOORS} == NO_CALLER


def test_every_chat_answer_is_read_by_every_sdk(replay_upstream: ReplayUpstream) -> None:
    """Those of no caller's dialect are among the others, as is what fails."""
    assert replay_upstream.base_url
    read = ids(across.ROWS) | {row.id for row in providers.CHATS} | ids(plain.BROKEN)
    failed = ids([*plain.FAILED, *gemini.FAILED]) | {row.id for row in providers.FAILED}
    no_chats = {row.id for row in recordings(*set(DOORS) - set(across.CHATS))}
    no_chats |= {row.id for row in providers.EMBEDDED}
    here = {path.stem for path in RECORDINGS.glob("*.json")}
    assert read | failed | no_chats | set(NOT_CALLED) == here


def test_every_api_has_golden_cases_for_a_clone_without_recordings() -> None:
    golden = {row.api for row in [*plain.ROWS, *gemini.ROWS] if row.golden}
    assert golden == set(DOORS) - {"vertex.generateContent"}  # it is Gemini's, at another address

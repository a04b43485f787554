"""Google's official SDK works against the gateway, with Gemini and with the others behind it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.genai.models import Models

from tests.contract.configured import LISTING_KEY, PLAIN, POOR_KEY, SDK_BREAKS, SDK_FAILS
from tests.contract.conftest import Stage
from tests.contract.recordings import GEMINI_CHATS, Recording, everything, identifier
from tests.harness.canary import canary
from tests.harness.config import API_KEY
from tests.upstream.scripts import answer, calling, error_in_stream, failing

each_plain = pytest.mark.parametrize("name", PLAIN.values())
# Golden streams that the gateway is there to mend: an SDK reads them from nobody else.
GOOD = [
    row
    for row in everything(*GEMINI_CHATS)
    if row.status < 400 and not row.id.endswith(("odd_lines", "usage_that_is_no_number"))
]


def client(url: str, key: str = API_KEY, version: str | None = None) -> genai.Client:
    options = types.HttpOptions(base_url=url, api_version=version, timeout=30_000)
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture(scope="module")
def google(served: Stage) -> Iterator[genai.Client]:
    with client(served.url) as made:
        yield made


@pytest.fixture(scope="module")
def direct() -> Iterator[Callable[[str], genai.Client]]:
    """Return clients of the providers themselves, by address: each takes long to be made."""
    with ExitStack() as stack:
        yield cache(lambda address: stack.enter_context(client(address)))


def told(response: Any) -> Any:
    """Return what the SDK made of an answer, but for the name of the model and HTTP's own."""
    return response.model_copy(update={"model_version": None, "sdk_http_response": None})


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_sdk_sees_what_the_provider_says(
    stage: Stage,
    google: genai.Client,
    direct: Callable[[str], genai.Client],
    row: Recording,
) -> None:
    stage.play(row)
    address, name = stage.provider(row)

    def asked(models: Models, model: str) -> list[Any]:
        if not row.streamed:
            return [told(models.generate_content(model=model, contents="x"))]
        return [told(each) for each in models.generate_content_stream(model=model, contents="x")]

    assert asked(google.models, row.id) == asked(direct(address).models, name)


@each_plain
def test_an_answer_is_told_whole_and_streamed_alike(
    stage: Stage, google: genai.Client, name: str
) -> None:
    stage.upstream.script(name, answer("one two three"))
    config = types.GenerateContentConfig(
        system_instruction="Count.", max_output_tokens=50, temperature=0.5, stop_sequences=["four"]
    )
    whole = google.models.generate_content(model=name, contents="count", config=config)
    chunks = list(
        google.models.generate_content_stream(model=name, contents="count", config=config)
    )
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == "one two three"
    assert whole.model_version == chunks[-1].model_version == name
    for told_by in (whole, chunks[-1]):
        assert told_by.candidates is not None
        assert told_by.candidates[0].finish_reason == types.FinishReason.STOP
        usage = told_by.usage_metadata
        assert usage is not None
        assert (usage.prompt_token_count, usage.candidates_token_count) == (2, 3)


@each_plain
def test_a_chat_that_calls_functions_by_itself_comes_to_its_end(
    stage: Stage, google: genai.Client, name: str
) -> None:
    called: list[str] = []

    def weather(town: str) -> str:
        """Say how the weather is in a town."""
        called.append(town)
        return f"warm in {town}"

    calls = [("weather", '{"town": "Rome"}'), ("weather", '{"town": "Oslo"}')]
    stage.upstream.script(name, calling(*calls), answer("Warm everywhere."))
    chat = google.chats.create(model=name, config=types.GenerateContentConfig(tools=[weather]))
    assert chat.send_message("weather?").text == "Warm everywhere."
    assert sorted(called) == ["Oslo", "Rome"]
    assert all(f"warm in {town}" in stage.upstream.calls[-1].raw_body for town in called)


@each_plain
def test_a_schema_is_asked_for_and_its_answer_parsed(
    stage: Stage, google: genai.Client, name: str
) -> None:
    stage.upstream.script(name, answer('{"town":"Rome"}'))
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"town": {"type": "STRING"}}},
    )
    whole = google.models.generate_content(model=name, contents="where?", config=config)
    assert whole.text == '{"town":"Rome"}'
    assert '"town"' in stage.upstream.calls[-1].raw_body


# Of the SDK's own, over the aiohttp that is installed beside it.
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@each_plain
async def test_async_clients_see_it_too_and_all_at_once(stage: Stage, name: str) -> None:
    stage.upstream.script(name, answer("one two"))
    google = client(stage.url).aio

    async def streamed() -> str:
        chunks = await google.models.generate_content_stream(model=name, contents="count")
        return "".join([chunk.text or "" async for chunk in chunks])

    whole, pieces = await asyncio.gather(
        google.models.generate_content(model=name, contents="count"), streamed()
    )
    assert whole.text == pieces == "one two"
    await google.aclose()


def test_tokens_are_counted_by_whoever_can(stage: Stage, google: genai.Client) -> None:
    for name in (PLAIN["gemini"], PLAIN["anthropic"]):
        counted = google.models.count_tokens(model=name, contents="one two three")
        assert counted.total_tokens == 3
    counted = google.models.count_tokens(model=PLAIN["openai"], contents="one two three")
    assert (counted.total_tokens or 0) > 0
    assert [call.dialect for call in stage.upstream.calls] == [
        "gemini.count_tokens",
        "anthropic.count_tokens",
    ]


def test_embeddings_are_had_from_gemini_and_from_openai(stage: Stage, google: genai.Client) -> None:
    config = types.EmbedContentConfig(output_dimensionality=4)
    contents: Any = [types.Content(parts=[types.Part(text=text)]) for text in ("a", "bcd")]
    for name in (PLAIN["gemini"], PLAIN["openai"]):
        made = google.models.embed_content(model=name, contents=contents, config=config)
        vectors: list[Any] = [one.values for one in made.embeddings or ()]
        assert vectors == [
            [pytest.approx(1 / (1 + place + 2)) for place in range(4)],
            [pytest.approx(2 / (3 + place + 2)) for place in range(4)],
        ]
    assert [call.dialect for call in stage.upstream.calls] == [
        "gemini.embeddings",
        "openai.embeddings",
    ]


@pytest.mark.parametrize("version", [None, "v1beta"])
def test_models_are_listed_in_googles_shape(stage: Stage, version: str | None) -> None:
    with client(stage.url, version=version) as google:
        named = {model.name for model in google.models.list()}
        assert {f"models/{name}" for name in PLAIN.values()} <= named
        found = google.models.get(model=PLAIN["gemini"])
    assert (found.name, found.output_token_limit) == (f"models/{PLAIN['gemini']}", 4096)
    assert "generateContent" in (found.supported_actions or ())


@pytest.mark.parametrize(
    ("key", "model", "kind", "status", "code"),
    [
        (canary("api-key-of-nobody"), "x", errors.ClientError, "UNAUTHENTICATED", 401),
        (LISTING_KEY, PLAIN["gemini"], errors.ClientError, "PERMISSION_DENIED", 403),
        (POOR_KEY, PLAIN["gemini"], errors.ClientError, "RESOURCE_EXHAUSTED", 402),
        (API_KEY, "nobody-knows", errors.ClientError, "NOT_FOUND", 404),
    ],
    ids=["unknown key", "scope", "money", "model"],  # keys differ from process to process
)
def test_our_own_error_is_the_sdks_own(
    stage: Stage, key: str, model: str, kind: type[errors.APIError], status: str, code: int
) -> None:
    with client(stage.url, key) as google, pytest.raises(kind) as caught:
        google.models.generate_content(model=model, contents="hi")
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.message
    assert not stage.upstream.calls


@pytest.mark.parametrize(
    ("status", "code", "kind", "word"),
    [
        (400, 400, errors.ClientError, "INVALID_ARGUMENT"),
        (401, 502, errors.ServerError, "UNAVAILABLE"),
        (429, 429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (500, 502, errors.ServerError, "UNAVAILABLE"),
        (503, 503, errors.ServerError, "UNAVAILABLE"),
    ],
)
def test_a_providers_error_is_the_sdks_own(
    stage: Stage,
    google: genai.Client,
    status: int,
    code: int,
    kind: type[errors.APIError],
    word: str,
) -> None:
    name = SDK_FAILS[status]
    stage.upstream.script(name, failing(status, "Said by the provider."))
    with pytest.raises(kind) as caught:
        google.models.generate_content(model=name, contents="hi")
    assert (caught.value.code, caught.value.status) == (code, word)
    assert ("Said by the provider." in str(caught.value.message)) is (status == 400)


@pytest.mark.parametrize("name", SDK_BREAKS.values(), ids=SDK_BREAKS)
def test_a_stream_that_breaks_is_no_answer(stage: Stage, google: genai.Client, name: str) -> None:
    stage.upstream.script(name, error_in_stream(4, 500, "Broken."))
    seen: list[Any] = []
    with pytest.raises(errors.ServerError):
        seen.extend(google.models.generate_content_stream(model=name, contents="hi"))
    finished = [c for r in seen for c in r.candidates or () if c.finish_reason is not None]
    assert finished == []

"""Tokens are exact where the vocabulary is public, and elsewhere within the error that is told."""

import gzip
import hashlib
import json
from importlib.resources import files

import pytest
import tiktoken

from llm_gateway.adapters.openai_chat import parse_request as parse_chat
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_models import token_family
from llm_gateway.tokens.counting import Count, count_inputs, count_request, count_text
from llm_gateway.tokens.families import FAMILIES
from llm_gateway.tokens.vocabularies import CUT_TOKENS, MOST_PIECES, PIECE, Counted, count
from tests.unit.adapters.recordings import FOLDER, absent
from tests.unit.tokens.recorded import Exchange, recorded

DIGESTS = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
# --- exact --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIGESTS)
def test_the_vocabularies_that_come_with_us_are_the_published_ones(name: str) -> None:
    packed = files("llm_gateway.tokens").joinpath(f"data/{name}.tiktoken.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize(
    ("text", "cl100k", "o200k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("The quick brown fox jumps over the lazy dog.", 10, 10),
        ("def f(x):\n    return x ** 2\n", 11, 11),
        ("今天天气很好 我们去公园吧", 17, 10),
        ("Größenwahnsinnige Äußerungen", 12, 11),
        ("👩‍👩‍👧‍👦 family", 19, 12),
        ("<|endoftext|>", 7, 7),
    ],
)
def test_texts_of_many_kinds_are_counted_as_another_implementation_does(
    text: str, cl100k: int, o200k: int
) -> None:
    assert count(text, "cl100k_base") == Counted(cl100k, cl100k, cl100k)
    assert count(text, "o200k_base") == Counted(o200k, o200k, o200k)


@pytest.mark.parametrize("text", ["many words ", "今天天气很好", " ", "x", "7", "\n"])
def test_what_is_too_long_for_one_look_is_counted_in_pieces(text: str) -> None:
    long = text * (3 * PIECE // len(text))
    counted = count(long, "o200k_base")
    whole = tiktoken.get_encoding("o200k_base")  # loaded by now: it is not asked for anywhere
    assert counted.low <= len(whole.encode_ordinary(long)) <= counted.high
    assert counted.high - counted.low <= 2 * CUT_TOKENS * 3


def test_what_is_longer_than_all_pieces_is_still_bounded() -> None:
    counted = count(" " * (PIECE * MOST_PIECES + 1_000_000), "o200k_base")
    assert counted.low < counted.likely < counted.high
    assert counted.high <= PIECE * MOST_PIECES + 1_000_000


def test_a_plain_chat_is_counted_to_the_token() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello world"}]}
    assert count_request(parse_chat(body), "o200k") == Count(tokens=9, at_least=9, at_most=9)
    assert count_request(parse_chat(body), "o200k").exact


def test_inputs_to_be_embedded_are_counted_alone() -> None:
    counted = count_inputs(["hello world", (1, 2, 3)], "embeddings")
    assert (counted.tokens, counted.exact) == (5, True)


def test_an_estimate_says_how_far_off_it_may_be() -> None:
    counted = count_text("hello world " * 500, "claude")
    assert not counted.exact
    assert counted.error is not None
    assert 0.2 < counted.error < 1.5
    assert counted.at_least < counted.tokens < (counted.at_most or 0)


def test_what_nobody_can_count_has_no_upper_bound() -> None:
    file = {"type": "file", "file": {"file_id": "file-1"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [file]}]}
    assert count_request(parse_chat(body), "o200k").at_most is None


# --- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CATALOG)
def test_every_provider_counts_by_a_family_that_there_is(kind: str) -> None:
    assert token_family(kind, "a-name-nobody-knows") in FAMILIES


def test_known_models_count_by_a_family_that_there_is() -> None:
    groups = json.loads(
        files("llm_gateway.providers").joinpath("data/models.json").read_text("utf-8")
    )
    assert {group["tokens"] for group in groups if "tokens" in group} <= FAMILIES.keys()
    assert token_family("openai", "gpt-4o-2024-08-06") == "o200k"
    assert token_family("openrouter", "anthropic/claude-sonnet-4.5") == "claude"


# --- recordings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", recorded(), ids=lambda exchange: exchange.id)
def test_what_a_provider_counted_lies_within_the_error_that_is_told(exchange: Exchange) -> None:
    counted = exchange.counted()
    assert counted.at_least <= exchange.used
    assert counted.at_most is None or exchange.used <= counted.at_most
    if counted.exact:
        assert counted.tokens == exchange.used


def test_the_recordings_are_many_and_some_are_exact() -> None:
    if not FOLDER.is_dir():
        absent()
    counts = [exchange.counted() for exchange in recorded()]
    assert len(counts) > 80
    assert sum(counted.exact for counted in counts) >= 10

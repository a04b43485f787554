"""Gemini's paths name model and method: each is found, and whatever is none is refused in Google's
words.
"""

import json
from typing import Any

import pytest

from tests.contract.configured import ODD, PLAIN
from tests.contract.conftest import Stage
from tests.harness.config import API_KEY
from tests.harness.dialects import Told, fetch
from tests.upstream.scripts import answer

HI = {"contents": [{"parts": [{"text": "hi"}]}]}
KEY = {"x-goog-api-key": API_KEY}


def ask(stage: Stage, method: str, path: str, headers: Any = KEY, body: Any = HI) -> Told:
    raw = json.dumps(body).encode() if method == "POST" else None
    return fetch(stage.url, method, path, raw, headers)


def texts(told: Told) -> str:
    """Return the text of an answer: whole, an array of chunks, or events."""
    chunks = told.events if told.headers["content-type"].startswith("text/event") else told.json
    chunks = chunks if isinstance(chunks, list) else [chunks]
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    return "".join(part["text"] for part in parts)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("generateContent", "application/json"),
        ("streamGenerateContent", "application/json"),
        ("streamGenerateContent?alt=sse", "text/event-stream"),
        ("streamGenerateContent?prettyPrint=false&$alt=sse", "text/event-stream"),
    ],
)
@pytest.mark.parametrize("model", [PLAIN["gemini"], PLAIN["openai"], ODD])
def test_every_method_is_had_in_both_versions(
    stage: Stage, version: str, method: str, kind: str, model: str
) -> None:
    stage.upstream.script(model, answer("seen and said"))
    told = ask(stage, "POST", f"/{version}/models/{model}:{method}")
    assert told.status == 200, told.text
    assert told.headers["content-type"].startswith(kind)
    assert texts(told) == "seen and said"
    assert told.headers["x-mobius-model"] == model


def test_a_name_with_colons_and_slashes_reaches_its_provider_as_one(stage: Stage) -> None:
    assert ask(stage, "POST", f"/v1beta/models/{ODD}:generateContent").status == 200
    (call,) = stage.upstream.calls
    assert call.path == "/v1beta/models/org%2Fgpt:beta@1:generateContent"
    assert call.model == ODD


@pytest.mark.parametrize("prefix", ["/v1", "/v1beta"])
def test_a_model_is_found_by_any_name_it_has(stage: Stage, prefix: str) -> None:
    told = ask(stage, "GET", f"{prefix}/models/{ODD}", {**KEY, "x-goog-api-client": "us/1"})
    assert (told.status, told.json["name"]) == (200, f"models/{ODD}")


def test_the_list_of_models_comes_in_the_shape_of_whoever_asks(stage: Stage) -> None:
    for headers, path, shape in (
        ({}, "/v1/models", "object"),
        ({"anthropic-version": "2023-06-01"}, "/v1/models", "has_more"),
        ({"x-goog-api-client": "google-genai-sdk/1"}, "/v1/models", "models"),
        ({}, "/v1beta/models", "models"),
    ):
        assert shape in ask(stage, "GET", path, {**KEY, **headers}).json, path


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1beta/models/x:predict", "UNIMPLEMENTED", 405),
        ("GET", "/v1beta/models/x:generateContent", "UNIMPLEMENTED", 405),
        ("GET", "/v1/models/x:streamGenerateContent", "UNIMPLEMENTED", 405),
        ("GET", "/v1beta/models/nobody-knows", "NOT_FOUND", 404),
        ("POST", "/v1beta/models/:generateContent", "INVALID_ARGUMENT", 400),
        ("POST", "/v1beta/tunedModels/x:generateContent", "NOT_FOUND", 404),
        ("GET", "/v1beta/cachedContents", "NOT_FOUND", 404),
    ],
)
def test_what_is_no_method_of_ours_is_refused_in_googles_words(
    stage: Stage, method: str, path: str, status: str, code: int
) -> None:
    told = ask(stage, method, path)
    assert told.status == code
    error = told.json["error"]
    assert (error["code"], error["status"]) == (code, status)
    assert error["message"]
    assert error["details"][0]["metadata"]["request_id"] == told.request_id
    assert not stage.upstream.calls


@pytest.mark.parametrize("query", ["key={}", "alt=sse&key={}", "$key={}"])
def test_a_key_in_the_url_is_refused_even_if_another_is_in_a_header(
    stage: Stage, query: str
) -> None:
    path = f"/v1beta/models/{PLAIN['gemini']}:streamGenerateContent?{query.format(API_KEY)}"
    for headers in ({}, KEY):
        told = ask(stage, "POST", path, headers)
        assert (told.status, told.code) == (401, "invalid_api_key")
        assert told.json["error"]["status"] == "UNAUTHENTICATED"
        assert "header" in told.json["error"]["message"]
        assert API_KEY not in told.text
    assert not stage.upstream.calls


def test_the_same_key_for_another_model_is_another_request(stage: Stage) -> None:
    def post(kind: str, method: str) -> Told:
        headers = {**KEY, "idempotency-key": "gemini-paths"}
        return ask(stage, "POST", f"/v1beta/models/{PLAIN[kind]}:{method}", headers)

    first = post("gemini", "generateContent")
    again = post("gemini", "generateContent")
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["x-mobius-replayed"] == "true"
    for kind, method in (("openai", "generateContent"), ("gemini", "streamGenerateContent")):
        told = post(kind, method)
        assert (told.status, told.json["error"]["status"]) == (422, "INVALID_ARGUMENT")
    assert len(stage.upstream.calls) == 1

"""instructor: an answer of a type, asked for again until it holds, and streamed as it grows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import instructor
from anthropic import Anthropic
from google import genai
from openai import OpenAI

from tests.clients.programs.town import KEY, QUESTION, URL, Visit, tell_piece


def openai(model: str) -> Any:
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    return instructor.from_openai(client, model=model, mode=instructor.Mode.TOOLS)


def responses(model: str) -> Any:
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    return instructor.from_openai(client, model=model, mode=instructor.Mode.RESPONSES_TOOLS)


def anthropic(model: str) -> Any:
    client = Anthropic(base_url=URL, api_key=KEY)
    return instructor.from_anthropic(client, model=model, max_tokens=1000)


def google(model: str) -> Any:
    client = genai.Client(api_key=KEY, http_options={"base_url": URL})
    return instructor.from_genai(client, model=model, mode=instructor.Mode.GENAI_TOOLS)


def asked() -> dict[str, Any]:
    return {"response_model": Visit, "messages": [{"role": "user", "content": QUESTION}]}


def typed(make: Callable[[str], Any], model: str) -> Any:
    return {"object": make(model).create(**asked()).model_dump()}


def stream(make: Callable[[str], Any], model: str) -> Any:
    said: Any = None
    for said in make(model).create_partial(**asked()):
        tell_piece(said.model_dump_json())
    return {"object": said.model_dump()}


WAYS = {"openai": openai, "responses": responses, "anthropic": anthropic, "google": google}
CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} typed": partial(typed, make) for way, make in WAYS.items()},
    **{f"{way} stream": partial(stream, make) for way, make in WAYS.items()},
}

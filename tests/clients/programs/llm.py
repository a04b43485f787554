"""`llm`: a chain of tools and a stream, with the models of its `extra-openai-models.yaml`."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import llm

from tests.clients.programs.town import KEY, MODELS, QUESTION, URL, clock, tell_piece, weather

WAYS = {"openai": False, "responses": True}  # whether by OpenAI's responses
(llm.user_dir() / "keys.json").write_text(json.dumps({"mobius": KEY}))
(llm.user_dir() / "extra-openai-models.yaml").write_text(
    json.dumps(  # which is YAML
        [
            {
                "model_id": f"mobius-{way}-{model}",
                "model_name": model,
                "api_base": f"{URL}/v1",
                "api_key_name": "mobius",
                "supports_tools": True,
                "responses": by_responses,
            }
            for way, by_responses in WAYS.items()
            for model in MODELS
        ]
    )
)


def tools(way: str, model: str) -> Any:
    chain = llm.get_model(f"mobius-{way}-{model}").chain(QUESTION, tools=[weather, clock])
    turns = []
    for turn in chain.responses():
        for piece in turn:
            tell_piece(piece)
        turns.append(turn)
    told = [turn.usage() for turn in turns]
    usage = sum(one.input for one in told), sum(one.output for one in told)
    return {"text": turns[-1].text(), "usage": usage}


def stream(way: str, model: str) -> Any:
    response = llm.get_model(f"mobius-{way}-{model}").prompt(QUESTION)
    for piece in response:
        tell_piece(piece)
    usage = response.usage()
    return {"text": response.text(), "usage": (usage.input, usage.output)}


CASES: dict[str, Callable[[str], Any]] = {
    **{f"{way} streamed tools": partial(tools, way) for way in WAYS},
    **{f"{way} stream": partial(stream, way) for way in WAYS},
}

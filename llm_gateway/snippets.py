"""Write a first request as curl and as the official SDKs would send it, ready to paste."""

from msgspec import Struct


class Snippet(Struct, frozen=True):
    """A piece of code under a title."""

    title: str
    code: str


def snippets(base_url: str, key: str, model: str) -> list[Snippet]:
    """Return the same question by curl, the OpenAI SDK and the Anthropic SDK.

    `base_url` is this gateway without a trailing slash; `key` a secret, or what stands for one.
    """
    return [
        Snippet("curl", curl(base_url, key, model)),
        Snippet("OpenAI SDK", _openai(base_url, key, model)),
        Snippet("Anthropic SDK", _anthropic(base_url, key, model)),
    ]


def curl(base_url: str, key: str, model: str) -> str:
    return f"""curl {base_url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""


def _openai(base_url: str, key: str, model: str) -> str:
    return f"""from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)"""


def _anthropic(base_url: str, key: str, model: str) -> str:
    return f"""from anthropic import Anthropic

client = Anthropic(base_url="{base_url}", api_key="{key}")
answer = client.messages.create(
    model="{model}", max_tokens=200, messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.content[0].text)"""

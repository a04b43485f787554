"""List the providers that the demo offers when their key is found, and describe each found one."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from llm_gateway.configuration.environment import Environment, wrong
from llm_gateway.configuration.scalars import NAME, number, whole_number
from llm_gateway.providers.catalog import CATALOG, Row
from llm_gateway.providers.endpoint import check_reachable
from llm_gateway.providers.known_models import model_facts
from llm_gateway.providers.known_prices import known_prices

Fields = dict[str, Any]

_RETRIES, _COUNT = whole_number(0, 19), whole_number(1)
_SECONDS, _BASE, _TEMPERATURE = number(0, 86_400, above=True), number(1, 100), number(0, 2)


class Sample(Struct, frozen=True):
    """A provider of the demo: found by its variable, offered with these upstream models."""

    kind: str
    variable: str
    models: tuple[str, ...]
    address_variable: str = ""
    model_variable: str = ""
    prefix: str = ""  # before the public name, where the upstream one belongs to somebody else
    price: tuple[str, str] | None = None  # input and output, where the price catalogue has none


SAMPLES = (
    Sample(
        "openai",
        "OPENAI_API_KEY",
        ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small"),
        address_variable="OPENAI_API_BASE",
        model_variable="OPENAI_MODEL",
    ),
    Sample(
        "anthropic",
        "ANTHROPIC_API_KEY",
        ("claude-haiku-4-5", "claude-sonnet-4-5"),
        address_variable="ANTHROPIC_API_BASE",
        model_variable="ANTHROPIC_MODEL",
    ),
    Sample("gemini", "GEMINI_API_KEY", ("gemini-2.5-flash", "gemini-2.5-pro")),
    Sample("openrouter", "OPENROUTER_API_KEY", ("openai/gpt-oss-120b",), prefix="openrouter/"),
    Sample("cohere", "COHERE_API_KEY", ("command-a-03-2025", "embed-v4.0")),
    Sample(
        "huggingface",
        "HF_TOKEN",
        ("openai/gpt-oss-120b:groq",),  # the router's own choice would have no one price
        prefix="huggingface/",
        price=("0.15", "0.75"),
    ),
    Sample(
        "ollama",
        "",
        ("llama3.2",),
        address_variable="OLLAMA_HOST",
        prefix="ollama/",
        price=("0", "0"),
    ),
)


def found_providers(environment: Environment) -> Iterable[Sample]:
    for sample in SAMPLES:
        variable = sample.variable or sample.address_variable
        if environment.text(variable) or environment.text(f"{variable}_FILE"):
            yield sample


def common_fields(environment: Environment) -> Fields:
    """Return what all found providers share; read also where none is, to find what is wrong."""
    retries = environment.number("LLM_MAX_RETRIES", _RETRIES)
    retry = given(
        max_attempts=None if retries is None else retries + 1,
        base=environment.number("LLM_RETRY_BACKOFF_BASE", _BASE),
    )
    return {
        "timeouts": given(total=environment.number("REQUEST_TIMEOUT", _SECONDS)),
        "retry": retry or None,
        "circuit_breaker": given(
            failure_threshold=environment.number("LLM_CIRCUIT_FAILURE_THRESHOLD", _COUNT),
            recovery_timeout=environment.number("LLM_CIRCUIT_TIMEOUT", _SECONDS),
        ),
    }


def provider_fields(sample: Sample, environment: Environment, common: Fields) -> Fields:
    row = CATALOG[sample.kind]
    base_url = _base_url(sample, row, environment)
    secret = environment.secret(row.key_variable)
    return {
        "name": sample.kind,
        "kind": sample.kind,
        "base_url": base_url or None,
        "allow_private_network": (base_url or row.base_url).startswith("http://"),
        "keys": [{"name": "main", "value": secret}] if secret else [],
        **common,
    }


def _base_url(sample: Sample, row: Row, environment: Environment) -> str:
    """Return the address an operator gave; Ollama's own variable may be a host and port alone."""
    text = environment.text(sample.address_variable).rstrip("/")
    if text and not sample.variable:
        text = text if "://" in text else f"http://{text}"
    try:
        check_reachable(sample.kind, text, allow_private=True)
    except ValueError as error:
        raise wrong(sample.address_variable, str(error)) from None
    return "" if text == row.base_url else text


def models_of(sample: Sample, environment: Environment) -> list[str]:
    """Return the upstream names to offer, the one of the environment first."""
    own = environment.text(sample.model_variable)
    if own and not NAME.fullmatch(own):
        raise wrong(sample.model_variable, f"{own!r} cannot be the name of a model")
    return list(dict.fromkeys([*([own] if own else []), *sample.models]))


def offered_models(
    found: Iterable[Sample], names: dict[str, list[str]], environment: Environment
) -> Iterable[Fields]:
    wanted = environment.words("ENABLED_MODELS")
    environment.number("OPENAI_TEMPERATURE", _TEMPERATURE)  # understood; it is the caller's to set
    largest = environment.number("OPENAI_MAX_TOKENS", _COUNT)
    for name in wanted:
        _place(name, names)
    for sample in found:
        for name in names[sample.kind]:
            public = sample.prefix + name.rpartition("/")[2]
            if wanted and name not in wanted and public not in wanted:
                continue
            own_limit = largest if sample.model_variable == "OPENAI_MODEL" else None
            embeds = "embeddings" in (model_facts(sample.kind, name).capabilities or ())
            yield {
                "name": public,
                "provider": sample.kind,
                "upstream_name": name,
                "max_output_tokens": None if embeds else own_limit,
                "prices": sample.price and [price_fields(*sample.price)],
            }


def _place(name: str, names: dict[str, list[str]]) -> None:
    """Add an enabled model to the provider that has it; one of a provider without key is left."""
    if name.startswith("mock-") or any(name in offered for offered in names.values()):
        return
    for sample in SAMPLES:
        prices = CATALOG[sample.kind].prices
        if prices is None or not known_prices(prices, name):
            continue
        if sample.kind in names:
            names[sample.kind].append(name)
        return
    raise wrong("ENABLED_MODELS", f"no provider is known to have a model {name!r}")


def given(**fields: object) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def price_fields(*lines: str) -> Fields:
    """Return a price since ever of input and, if there is one, output."""
    return {"from": "1970-01-01", **dict(zip(("input", "output"), lines, strict=False))}

"""Refuse body fields that steer a gateway or a client, in any spelling (security.md §6)."""

from collections.abc import Collection, Mapping
from typing import Any

from llm_gateway.errors import InvalidRequestError

STEERING = frozenset({
    "api_base", "api_key", "api_secret", "api_type", "api_url", "api_version", "auth_token",
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "azure_ad_token",
    "azure_endpoint", "base_url", "credentials", "custom_llm_provider", "default_headers",
    "deployment_id", "endpoint_url", "extra_body", "extra_headers", "extra_query", "fallbacks",
    "headers", "http_client", "litellm_params", "mock_response", "model_list", "models",
    "organization", "proxies", "proxy", "user_config", "vertex_credentials", "x_api_key",
})  # fmt: skip
_FOLDED = frozenset(name.replace("_", "") for name in STEERING)

# What a caller writes for the model: any key may stand there.
_CONTENT = frozenset({
    "messages", "tools", "functions", "input", "system", "response_format", "output_config",
    "output_format", "logit_bias",
})  # fmt: skip


def refuse_steering(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise InvalidRequestError for a steering name, or a known one in another letter case.

    Objects at the top level are looked into once; what the model reads is not.
    """
    for name, value in body.items():
        if name in known:
            if name not in _CONTENT and isinstance(value, dict):
                _refuse_inside(name, value)
            continue
        _refuse_name(name, name)
        meant = next((one for one in known if one.lower() == name.lower()), None)
        if meant is not None:
            _refuse(name, f"'{name}' is not a parameter; did you mean '{meant}'?")
        for inner in value if isinstance(value, list) else (value,):
            if isinstance(inner, dict):
                _refuse_inside(name, inner)


def _refuse_inside(parent: str, value: Mapping[str, Any]) -> None:
    for name in value:
        _refuse_name(name, f"{parent}.{name}")


def _refuse_name(name: str, path: str) -> None:
    if name.lower().replace("_", "").replace("-", "") in _FOLDED:
        _refuse(path, f"'{path}' cannot be set in a request.")


def _refuse(param: str, message: str) -> None:
    raise InvalidRequestError(message, param=param)

"""Read the variables of the demo configuration, those of older deployments among them.

A value that cannot be understood is an error that names its variable.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway.configuration.document import ConfigurationError, Problem, Scalar


class Environment:
    """Variables as they were handed in."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str:
        return self._variables.get(name, "").strip()

    def words(self, name: str) -> list[str]:
        return [word.strip() for word in self.text(name).split(",") if word.strip()]

    def secret(self, name: str) -> str | None:
        """Return where a secret is, as a configuration says it; None when it is not set."""
        if self.text(name):
            return f"env:{name}"
        path = self.text(f"{name}_FILE")
        return f"file:{path}" if path else None

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in _WORDS:
            raise wrong(name, f"{text!r} is not true or false")
        return _WORDS[text]

    def number(self, name: str, scalar: Scalar) -> Any:  # noqa: ANN401 - an int or a float, as the scalar says
        """Return the number as the scalar reads it; None when it is not set."""
        if not (text := self.text(name)):
            return None
        try:
            return scalar.read(float(text) if _is_float(text) else int(text))
        except ValueError:
            raise wrong(name, f"{text!r} is not a number that can be used here") from None


def wrong(name: str, text: str) -> ConfigurationError:
    return ConfigurationError([Problem(name, text)])


def _is_float(text: str) -> bool:
    return any(sign in text for sign in ".eE")


_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off", ""), False),
}

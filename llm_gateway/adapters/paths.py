"""Say where under a provider's base URL an operation is asked for."""

from urllib.parse import quote

from llm_gateway.types import Quirks


def path_for(operation: str, usual: str, model: str, quirks: Quirks) -> str:
    """Return the path of an operation: the row's own, its `{model}` escaped, else the usual one."""
    if not quirks.paths:
        return usual
    own = dict(quirks.paths).get(operation)
    return usual if own is None else own.replace("{model}", quote(model, safe=""))

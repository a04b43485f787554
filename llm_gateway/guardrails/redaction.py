"""Take out of a text what is nobody else's business: secrets, addresses, numbers of people."""

from llm_gateway.guardrails.base import without
from llm_gateway.guardrails.pii import Pii
from llm_gateway.guardrails.secrets import Secrets

_SECRETS, _PII = Secrets(), Pii()


def redact(text: str) -> str:
    """Return `text` with a word in brackets for each secret, address or number found in it.

    Keys, tokens, passwords that are named, e-mail addresses, IBANs and card numbers whose check
    digits are right, US social security numbers, phone numbers.
    """
    text = without(text, _SECRETS.find(text))
    return without(text, _PII.find(text))

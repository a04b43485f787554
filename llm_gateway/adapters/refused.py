"""Say whether a provider would not answer: by the word that its answer ends with, and no output."""

from llm_gateway.types import Facts

# Of every protocol; no word stands for something else in another one.
_WORDS = frozenset(
    {
        *("content_filter", "refusal"),
        *("content_filtered", "guardrail_intervened"),
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "JAILBREAK"),
    }
)


def refused(facts: Facts) -> bool:
    """Say whether an answer that is complete says nothing, since the provider did not want to."""
    return not facts.content and facts.finish_reason in _WORDS

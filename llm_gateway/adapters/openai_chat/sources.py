"""Read what compatible servers add to an answer: where it is from, and who signed its thinking.

Sources come as `annotations` of the message, or as `search_results` and `citations` beside it,
which Perplexity repeats in every chunk. `reasoning_details` is OpenRouter's.
"""

from collections.abc import Iterator
from typing import Any

from llm_gateway.adapters.counting import text_or_none
from llm_gateway.types import Citation, ThinkingDelta


def annotations(said: object, choice: int) -> Iterator[Citation]:
    """Yield the sources that a message, or a piece of one, names itself."""
    for one in said if isinstance(said, list) else ():
        cited = one.get("url_citation") if isinstance(one, dict) else None
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            yield Citation(
                url=cited["url"],
                title=text_or_none(cited.get("title")),
                quote=text_or_none(cited.get("content")),
                start=_place(cited.get("start_index")),
                end=_place(cited.get("end_index")),
                choice=choice,
            )


def search_results(results: object, urls: object) -> Iterator[Citation]:
    """Yield the sources that stand beside the message, with what is known of each."""
    told = results if isinstance(results, list) and results else urls
    for one in told if isinstance(told, list) else ():
        known: dict[str, Any] = one if isinstance(one, dict) else {"url": one}
        if isinstance(known.get("url"), str):
            yield Citation(
                url=known["url"],
                title=text_or_none(known.get("title")),
                quote=text_or_none(known.get("snippet")),
            )


def signed(details: object, choice: int, *, whole: bool) -> Iterator[ThinkingDelta]:
    """Yield signatures and redacted thinking; a whole answer's signatures come with their text."""
    for one in details if isinstance(details, list) else ():
        if not isinstance(one, dict):
            continue
        signature, data = text_or_none(one.get("signature")), text_or_none(one.get("data"))
        text = text_or_none(one.get("text")) or text_or_none(one.get("summary")) or ""
        if signature or data or (whole and text):
            yield ThinkingDelta(
                text=text if whole else "",
                signature=signature or None,
                redacted=data or None,
                choice=choice,
            )


def _place(value: object) -> int | None:
    return value if type(value) is int else None

"""What of a Gemini answer is looked at: typed shapes for the decoder, usage, error objects.

Google counts thoughts apart from the answer and prompts of its own tools apart from the prompt;
ours are sums. A stream has no terminal event: it is over when every candidate that began has said
why it ended, or when the prompt was blocked.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llm_gateway.adapters.counting import RAW_KEPT, count, text_bytes, text_or_none
from llm_gateway.adapters.retry_after import seconds
from llm_gateway.adapters.upstream_errors import Complaint, by_status
from llm_gateway.errors import GatewayError
from llm_gateway.types import Facts, Usage

Wire = dict[str, Any]


class FunctionCall(Struct):
    id: Any = None
    name: Any = None
    args: Any = None


class Part(Struct, rename="camel"):
    """A piece of content: what is set tells its kind. Media it holds is not decoded."""

    text: Any = None
    thought: Any = None
    thought_signature: Any = None
    function_call: FunctionCall | None = None
    executable_code: Any = None
    code_execution_result: Any = None
    inline_data: Raw | UnsetType = UNSET

    def output_bytes(self) -> int:
        """Return the bytes of output it carries; media is no text."""
        size = text_bytes(self.text)
        if self.function_call is not None:
            size += text_bytes(self.function_call.name) + text_bytes(self.function_call.args)
        for other in (self.executable_code, self.code_execution_result):
            if other is not None:
                size += text_bytes(other)
        return size


class Content(Struct):
    parts: list[Part] | None = None


class Searches(Struct, rename="camel"):
    web_search_queries: list[Any] | None = None


class Candidate(Struct, rename="camel"):
    index: Any = 0
    content: Content | None = None
    finish_reason: Any = None
    grounding_metadata: Searches | None = None
    logprobs_result: Raw | UnsetType = UNSET

    @property
    def number(self) -> int:
        return self.index if type(self.index) is int else 0


class Feedback(Struct, rename="camel"):
    block_reason: Any = None


class Chunk(Struct, rename="camel"):
    """A whole answer, or one of those that make a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Raw | UnsetType = UNSET
    model_version: Any = None
    response_id: Any = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode


class Seen:
    """The facts of one answer, as its chunks come; usage is cumulative, the last valid one wins.

    What a chunk before the end reports is no more than a beginning: until the end is seen the usage
    is `estimated`, so that a stream that ends early is not charged by it.
    """

    __slots__ = ("_begun", "_over", "_searches", "blocked", "facts")

    def __init__(self) -> None:
        self.facts = Facts()
        self.blocked = False
        self._begun: set[int] = set()
        self._over: set[int] = set()
        self._searches = 0

    @property
    def finished(self) -> bool:
        """Say whether the answer has told its end; more may follow all the same."""
        return self.blocked or (bool(self._begun) and self._begun == self._over)

    def chunk(self, chunk: Chunk) -> None:
        facts = self.facts
        if facts.id is None:
            facts.id = text_or_none(chunk.response_id)
            facts.model = text_or_none(chunk.model_version)
        for candidate in chunk.candidates or ():
            self._candidate(candidate)
        if not self._begun and chunk.prompt_feedback is not None:
            reason = text_or_none(chunk.prompt_feedback.block_reason)
            self.blocked = reason is not None
            facts.finish_reason = reason or facts.finish_reason
        if chunk.usage_metadata is not UNSET:
            self._usage(bytes(chunk.usage_metadata))

    def end(self, *, final: bool = False) -> bool:
        """Say whether the answer is whole, now that nothing follows; `final`: it is by itself."""
        if not (final or self.finished):
            return False
        self.facts.complete = True
        usage = self.facts.usage
        if usage is not None and usage.estimated:
            self.facts.usage = msgspec.structs.replace(usage, estimated=False)
        return True

    def _candidate(self, candidate: Candidate) -> None:
        facts = self.facts
        self._begun.add(candidate.number)
        if isinstance(candidate.finish_reason, str):
            self._over.add(candidate.number)
            facts.finish_reason = candidate.finish_reason
        for part in (candidate.content.parts or ()) if candidate.content else ():
            size = part.output_bytes()
            facts.output_bytes += size
            if size or part.inline_data is not UNSET or part.function_call is not None:
                facts.content = True
        if candidate.grounding_metadata is not None:
            self._searches = len(candidate.grounding_metadata.web_search_queries or ())

    def _usage(self, raw: bytes) -> None:
        try:
            self.facts.usage = read_usage(
                msgspec.json.decode(raw), searches=self._searches, estimated=not self.finished
            )
        except ValueError:
            self.facts.usage_invalid = raw[:RAW_KEPT].decode(errors="replace")


def read_usage(reported: object, *, searches: int = 0, estimated: bool = False) -> Usage:
    """Return a usage object as ours. Raises ValueError where a count is none."""
    if not isinstance(reported, dict):
        raise ValueError("no usage")  # noqa: TRY004  what the caller of a decoder expects
    thoughts = count(reported.get("thoughtsTokenCount"))
    return Usage(
        input=count(reported.get("promptTokenCount"))
        + count(reported.get("toolUsePromptTokenCount")),
        output=count(reported.get("candidatesTokenCount")) + thoughts,
        cache_read=count(reported.get("cachedContentTokenCount")),
        reasoning=thoughts,
        audio_input=_of_modality(reported, "promptTokensDetails", "AUDIO"),
        audio_output=_of_modality(reported, "candidatesTokensDetails", "AUDIO"),
        image_input=_of_modality(reported, "promptTokensDetails", "IMAGE"),
        image_output=_of_modality(reported, "candidatesTokensDetails", "IMAGE"),
        tool_calls=searches,
        estimated=estimated,
    )


def render_usage(usage: Usage) -> Wire:
    """Return our usage as the protocol counts: thoughts apart from the answer."""
    written: Wire = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": max(usage.output - usage.reasoning, 0),
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.cache_read:
        written["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        written["thoughtsTokenCount"] = usage.reasoning
    if usage.audio_input or usage.image_input:
        text = usage.input - usage.audio_input - usage.image_input
        written["promptTokensDetails"] = _details(text, usage.audio_input, usage.image_input)
    return written


def _of_modality(reported: Wire, name: str, modality: str) -> int:
    details = reported.get(name)
    return sum(
        count(one.get("tokenCount"))
        for one in (details if isinstance(details, list) else ())
        if isinstance(one, dict) and one.get("modality") == modality
    )


def _details(text: int, audio: int, image: int) -> list[Wire]:
    counts = {"TEXT": max(text, 0), "AUDIO": audio, "IMAGE": image}
    return [{"modality": name, "tokenCount": tokens} for name, tokens in counts.items() if tokens]


_STATUS_OF = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
_ERRORS = range(400, 600)
_CONTEXT_WORDS = ("exceeds the maximum number of tokens",)
_BAD_KEY = "API_KEY_INVALID"
_UNAUTHENTICATED = 401


def complaint(error: object) -> Complaint:
    """Return what an error object says, with the wait it asks for."""
    named = error if isinstance(error, dict) else {}
    text = text_or_none(named.get("message")) or ""
    return Complaint(
        message=text,
        context_length=any(words in text for words in _CONTEXT_WORDS),
        wait_s=_wait_s(named),
    )


def status_of(error: object, said: int) -> int:
    """Return the status that tells what an error is: a bad key of ours is answered with a 400."""
    named = error if isinstance(error, dict) else {}
    if any(one.get("reason") == _BAD_KEY for one in _all_details(named)):
        return _UNAUTHENTICATED
    return said


def error_in_answer(error: object) -> GatewayError:
    """Return the error that an error object inside a 200 names: by its code, else its status."""
    named = error if isinstance(error, dict) else {}
    code, word = named.get("code"), named.get("status")
    if type(code) is not int or code not in _ERRORS:
        code = _STATUS_OF.get(word, 500) if isinstance(word, str) else 500
    said = complaint(error)
    return by_status(status_of(error, code), said, said.wait_s)


def _wait_s(error: Wire) -> float | None:
    """Return the wait of a RetryInfo: a duration such as `48s`."""
    for detail in _all_details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return seconds(delay.removesuffix("s"))
    return None


def _all_details(error: Wire) -> list[Wire]:
    details = error.get("details")
    return [one for one in (details if isinstance(details, list) else ()) if isinstance(one, dict)]

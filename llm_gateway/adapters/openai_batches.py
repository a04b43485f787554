"""The protocol of POST /v1/batches: requests in a file, answered in another one within a day.

The files and their lines are spoken of here too. All lines of a batch ask one endpoint and one
model; what they used is known when the file of their answers is there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from llm_gateway.adapters import batched, openai_chat, openai_embeddings, openai_responses
from llm_gateway.adapters.base import Changes
from llm_gateway.adapters.openai_chat.wire import error_in_answer
from llm_gateway.adapters.steering import refuse_steering
from llm_gateway.adapters.steering_fields import outgoing, wrong
from llm_gateway.errors import GatewayError, InvalidAnswerError, InvalidRequestError
from llm_gateway.types import Call, Facts, Outgoing, Quirks, Usage

__all__ = [
    "content",
    "ended",
    "files",
    "name",
    "parse_call",
    "parse_error",
    "parse_file",
    "path_of",
    "relay_answer",
    "render_error",
    "render_relay",
    "results",
    "shown",
    "used",
]

name = "openai_batches"
PATH, FILES = "/batches", "/files"
KNOWN = frozenset(
    {"completion_window", "endpoint", "input_file_id", "metadata", "output_expires_after"}
)
# What a line may ask, and who speaks of it.
ASKED: Mapping[str, Any] = {
    "/v1/chat/completions": openai_chat,
    "/v1/embeddings": openai_embeddings,
    "/v1/responses": openai_responses,
}
MOST_LINES = 50_000  # as the provider has it
_OF_LINE = frozenset({"body", "custom_id", "method", "url"})
_ENDED = frozenset({"cancelled", "completed", "expired", "failed"})
# What would end a name in the head of a part.
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
parse_error = openai_chat.parse_error
render_error = openai_chat.render_error


class Line(Struct, frozen=True):
    """One request of a file, which begins at 1; `call` is its body's.

    `limit` bounds the tokens of an answer to which the caller gave no limit.
    """

    number: int
    custom_id: str
    url: str
    call: Call
    limit: int | None = None


class Upload(Struct, frozen=True, kw_only=True):
    """A file that is to be kept, and the form's other fields."""

    filename: str
    content: bytes
    purpose: str
    content_type: str = "application/octet-stream"
    fields: tuple[tuple[str, str], ...] = ()


class Batch(Struct):
    """What of a batch is looked at."""

    id: str = ""
    endpoint: str = ""
    status: str = ""
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    error: Any = None


class Response(Struct):
    status_code: int = 0
    body: Raw = Raw(b"null")


class Result(Struct):
    """What of one line of the answers is looked at."""

    response: Response | None


_decode = msgspec.json.Decoder(Batch).decode
_decode_result = msgspec.json.Decoder(Result).decode


# --- a batch begins ----------------------------------------------------------------------------


def parse_call(body: dict[str, Any], *, size: int) -> Call:
    """Return what steers the gateway; the model and all that is asked stand in the file.

    Raises InvalidRequestError naming the field.
    """
    refuse_steering(body, KNOWN)
    file_id, endpoint = body.get("input_file_id"), body.get("endpoint")
    if not isinstance(file_id, str) or not _ID.fullmatch(file_id):
        raise wrong("input_file_id", "the id of a file")
    if not isinstance(endpoint, str) or endpoint not in ASKED:
        raise wrong("endpoint", f"one of {', '.join(ASKED)}")
    return Call(
        dialect=name,
        operation="batches",
        model="",
        body=body,
        size=size,
        wants_usage=True,
        needs=frozenset({"batches"}),
        continues=(file_id,),
    )


def render_relay(call: Call, _changes: Changes, quirks: Quirks) -> Outgoing:
    """Return the caller's own body: which model it is stands in the file."""
    return outgoing(PATH, call.body, quirks.default_headers)


def relay_answer(body: bytes, *, model: str) -> tuple[bytes, Facts]:
    """Return the batch as it was begun, and its facts: `kept` is its id.

    Raises InvalidAnswerError for what is no batch.
    """
    batch = _batch(body)
    if not _ID.fullmatch(batch.id):
        raise InvalidAnswerError("The provider gave its batch no id that can be asked for.")
    facts = Facts(id=batch.id, complete=True, content=True, kept=(batch.id,))
    return shown(body, model=model), facts


# --- the lines of a file that goes in ----------------------------------------------------------


def parse_line(number: int, line: dict[str, Any]) -> Line:
    """Return one request of a file. Raises InvalidRequestError naming the line and the field."""
    try:
        return _line(number, line)
    except InvalidRequestError as error:
        raise of_line(number, error) from None


def of_line(number: int, error: InvalidRequestError) -> InvalidRequestError:
    """Return an error as that of a line."""
    where = f"lines[{number}]"
    error.param = f"{where}.{error.param}" if error.param else where
    error.message = f"Line {number}: {error.message}"
    error.args = (error.message,)
    return error


def _line(number: int, line: dict[str, Any]) -> Line:
    for field in line:
        if field not in _OF_LINE:
            raise InvalidRequestError(f"'{field}' is not a field of a request.", param=field)
    custom_id, url, body = line.get("custom_id"), line.get("url"), line.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        raise wrong("custom_id", "a name")
    if line.get("method") != "POST":
        raise wrong("method", "POST")
    if not isinstance(url, str) or url not in ASKED:
        raise wrong("url", f"one of {', '.join(ASKED)}")
    if not isinstance(body, dict):
        raise wrong("body", "an object")
    return Line(number, custom_id, url, _call_of(url, body))


def _call_of(url: str, body: dict[str, Any]) -> Call:
    try:
        call: Call = ASKED[url].parse_call(body, size=0)
        _check_alone(call)
    except InvalidRequestError as error:
        error.param = f"body.{error.param}" if error.param else "body"
        raise
    return call


def _check_alone(call: Call) -> None:
    """Raise InvalidRequestError for a request that is not answered whole, by itself."""
    if call.stream:
        raise InvalidRequestError("'stream' is not possible in a batch.", param="stream")
    if call.continues:
        raise InvalidRequestError("A batch cannot go on from what is kept.", param="input")
    if files_named(call.body):
        raise InvalidRequestError("A batch cannot read files by id.", param="file_id")


def together(lines: Sequence[Line], *, size: int) -> Call:
    """Return all lines as one call; they ask one endpoint, each under a name of its own.

    Raises InvalidRequestError naming the line that does not.
    """
    if not lines:
        raise InvalidRequestError("The file holds no request.", param="file")
    names: set[str] = set()
    for line in lines:
        if line.url != lines[0].url:
            error = InvalidRequestError("All lines ask one endpoint.", param="url")
            raise of_line(line.number, error)
        if line.custom_id in names:
            error = InvalidRequestError("Another line has this name.", param="custom_id")
            raise of_line(line.number, error)
        names.add(line.custom_id)
    placed = [(f"lines[{line.number}].body", line.call) for line in lines]
    return batched.together(placed, name, {}, size=size)


def bounded(line: Line, most: int) -> Line:
    """Return a line whose answer has a bound: `most` tokens where it says none itself."""
    if line.call.operation != "chat" or line.call.max_output_tokens is not None:
        return line
    return replace(line, call=replace(line.call, max_output_tokens=most), limit=most)


def render_line(line: Line, upstream_name: str, quirks: Quirks) -> bytes:
    """Return a line as it is sent: the caller's own body, under the upstream's model name."""
    changes = _Changes(upstream_name, line.limit)
    body = ASKED[line.url].render_relay(line.call, changes, quirks).body
    request = {"custom_id": line.custom_id, "method": "POST", "url": line.url, "body": Raw(body)}
    return msgspec.json.encode(request) + b"\n"


class _Changes(Struct, frozen=True):
    upstream_name: str
    max_output_tokens: int | None


def render_upload(upload: Upload, boundary: str, quirks: Quirks) -> Outgoing:
    """Return the form that keeps a file; `boundary` must not stand in it."""
    fields = (("purpose", upload.purpose), *upload.fields)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields
    ]
    filename = _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", upload.filename)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {upload.content_type}\r\n\r\n"
    )
    body = b"".join(
        ["".join(parts).encode(), head.encode(), upload.content, f"\r\n--{boundary}--\r\n".encode()]
    )
    kind = ("content-type", f"multipart/form-data; boundary={boundary}")
    return Outgoing(path=FILES, body=body, headers=(*quirks.default_headers, kind))


def files_named(body: object) -> set[str]:
    """Return the ids of files that a body names, wherever a provider may look for them."""
    found: set[str] = set()
    level = [body]
    while level:
        value = level.pop()
        if isinstance(value, dict):
            found.update(_of_files(value))
            level += value.values()
        elif isinstance(value, list):
            level += value
    return found


def _of_files(value: dict[str, Any]) -> Iterator[str]:
    several = value.get("file_ids")
    for one in (value.get("file_id"), *(several if isinstance(several, list) else ())):
        if isinstance(one, str):
            yield one


# --- what becomes of it ------------------------------------------------------------------------


def path_of(batch_id: str) -> str:
    """Return where a batch is asked for."""
    return f"{PATH}/{batch_id}"


def ended(body: bytes) -> bool:
    """Say whether nothing more comes of a batch."""
    return _batch(body).status in _ENDED


def results(body: bytes) -> list[str]:
    """Return where the answers of a batch that has ended stand; none where nothing was asked."""
    answers = _batch(body).output_file_id
    return [] if answers is None else [f"{FILES}/{_checked(answers)}/content"]


def files(body: bytes) -> list[str]:
    """Return the ids of the files that came of a batch."""
    batch = _batch(body)
    return [_checked(one) for one in (batch.output_file_id, batch.error_file_id) if one]


def used(batch: bytes, results: bytes) -> Iterator[Usage]:
    """Yield what each answered request of a batch used. Raises InvalidAnswerError.

    One that failed, expired or was stopped costs nothing.
    """
    endpoint = _batch(batch).endpoint
    for line in results.splitlines():
        if not line.strip():
            continue
        response = _result(line).response
        if response is None or response.status_code != 200:  # noqa: PLR2004
            continue
        usage = _used(endpoint, bytes(response.body))
        if usage is not None:
            yield usage


def _used(endpoint: str, answer: bytes) -> Usage | None:
    """Return what one answer used; None for one that is an error and tells no usage."""
    spoken = ASKED.get(endpoint, openai_chat)
    try:
        _, facts = spoken.relay_answer(answer, model="")
    except InvalidAnswerError:
        raise
    except GatewayError:
        told = msgspec.json.decode(answer)
        if not told.get("usage"):
            return None
        _, facts = spoken.relay_answer(msgspec.json.encode({**told, "error": None}), model="")
    if facts.usage is None:
        raise InvalidAnswerError("A result of the batch tells no usage.")
    usage: Usage = facts.usage
    return usage


def parse_file(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the id of a file that was kept, and the file as it is shown."""
    told = _object(body)
    return _checked(told.get("id")), told


def shown(body: bytes, *, model: str) -> bytes:
    """Return a batch or a file as the caller gets it: under the public model."""
    told = _object(body)
    if not isinstance(told.get("model"), str):
        return body
    return msgspec.json.encode({**told, "model": model})


def content(body: bytes, *, model: str) -> bytes:
    """Return what is in a file; each line of a batch's under the public model."""
    if not model:
        return body
    return b"".join(_named(line, model) for line in body.splitlines(keepends=True))


def _named(line: bytes, model: str) -> bytes:
    if not line.strip():
        return line
    try:
        told = msgspec.json.decode(line)
        for holder in (told, told.get("response") or {}):
            inner = holder.get("body")
            if isinstance(inner, dict) and "model" in inner:
                inner["model"] = model
    except (ValueError, AttributeError) as error:
        raise InvalidAnswerError("The provider's file is not understood.") from error
    return msgspec.json.encode(told) + b"\n"


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is no object.") from error


def _batch(body: bytes) -> Batch:
    """Raise InvalidAnswerError for what is no batch, and the error that an answer names instead."""
    try:
        batch = _decode(body)
    except ValueError as error:
        raise InvalidAnswerError("The provider's answer is no batch.") from error
    if batch.error is not None:
        raise error_in_answer(batch.error)
    if not batch.id or not batch.status:
        raise InvalidAnswerError("The provider's answer is no batch.")
    return batch


def _result(line: bytes) -> Result:
    try:
        return _decode_result(line)
    except ValueError as error:
        raise InvalidAnswerError("The provider's results are not understood.") from error


def _checked(file_id: object) -> str:
    if not isinstance(file_id, str) or not _ID.fullmatch(file_id):
        raise InvalidAnswerError("The provider gave a file no id that can be asked for.")
    return file_id

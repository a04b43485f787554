"""Read a form with a file in it: multipart/form-data, of few parts with short heads.

What is not understood is refused by name: nothing of a form is passed over.
"""

import re
from email.message import Message
from email.parser import HeaderParser

from msgspec import Struct

from llm_gateway.adapters.openai_batches import Upload
from llm_gateway.errors import InvalidRequestError

MOST_PARTS, MOST_HEAD = 20, 64 * 1024
FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_FIELD = re.compile(r"[!-~]{1,200}")
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,100}", re.ASCII)
_BOUNDARY = re.compile(r"[!-~](?:[ -~]{0,68}[!-~])?")
_UNKNOWN = "application/octet-stream"


class Part(Struct, frozen=True):
    """One part of a form; `filename` None is a plain field."""

    name: str
    content: bytes
    filename: str | None
    content_type: str


def parse_upload(content_type: bytes, body: bytes) -> Upload:
    """Return the file that a form holds. Raises InvalidRequestError naming what is wrong."""
    parts: dict[str, Part] = {}
    for part in parse_parts(content_type, body):
        if part.name not in {"file", *FIELDS}:
            raise InvalidRequestError(f"{part.name!r} is not a field.", param=part.name)
        if part.name in parts:
            raise InvalidRequestError(f"'{part.name}' is there twice.", param=part.name)
        parts[part.name] = part
    file = parts.pop("file", None)
    if file is None or file.filename is None:
        raise InvalidRequestError("'file' must be a file.", param="file")
    fields = {name: _text(part) for name, part in parts.items()}
    if "purpose" not in fields:
        raise InvalidRequestError("'purpose' must say what the file is for.", param="purpose")
    return Upload(
        filename=file.filename,
        content=file.content,
        content_type=file.content_type,
        purpose=fields.pop("purpose"),
        fields=tuple(fields.items()),
    )


def parse_parts(content_type: bytes, body: bytes) -> list[Part]:
    """Return the parts of a form in order. Raises InvalidRequestError."""
    # Its first boundary has no line before it, where every other one has.
    pieces = (b"\r\n" + body).split(b"\r\n--" + _boundary(content_type), MOST_PARTS + 2)
    if len(pieces) > MOST_PARTS + 2:
        raise InvalidRequestError(f"The form has more than {MOST_PARTS} parts.")
    if len(pieces) < 2 or pieces[0].strip() or pieces[-1].strip() != b"--":  # noqa: PLR2004
        raise InvalidRequestError("The form is not whole: a boundary is missing.")
    return [_part(piece) for piece in pieces[1:-1]]


def _boundary(content_type: bytes) -> bytes:
    head = Message()
    head["content-type"] = content_type.decode("latin-1")
    boundary = head.get_param("boundary")
    known = head.get_content_type() == "multipart/form-data"
    if not known or not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise InvalidRequestError(
            "Send the file as multipart/form-data with a boundary.", param="content-type"
        )
    return boundary.encode()


def _part(piece: bytes) -> Part:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > MOST_HEAD:
        raise InvalidRequestError("A part of the form has no head that is understood.")
    try:
        told = HeaderParser().parsestr(head[2:].decode())
    except UnicodeDecodeError:
        raise InvalidRequestError("The head of a part is not valid UTF-8.") from None
    name = told.get_param("name", header="content-disposition")
    if told.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise InvalidRequestError("A part of the form has no name.")
    if told.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise InvalidRequestError("Send the parts of the form as they are.", param=name[:200])
    kind = told.get("content-type", _UNKNOWN)
    return Part(
        name=name[:200],
        content=content,
        filename=told.get_filename(),
        content_type=kind if _TYPE.fullmatch(kind) else _UNKNOWN,
    )


def _text(part: Part) -> str:
    """Return what a field says: few visible letters."""
    text = part.content.decode("latin-1")
    if part.filename is not None or not _FIELD.fullmatch(text):
        raise InvalidRequestError(f"'{part.name}' must be a short text.", param=part.name)
    return text

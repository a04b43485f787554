"""A form is read as it was written, and what is not understood is refused."""

import pytest

from llm_gateway.edge.multipart import MOST_PARTS, parse_upload
from llm_gateway.errors import InvalidRequestError

KIND = b'multipart/form-data; boundary="b--b"'


def part(name: str, content: bytes = b"batch", more: str = "", head: str = "") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"{more}\r\n{head}\r\n'
    return b"--b--b\r\n" + disposition.encode() + content + b"\r\n"


FILE = part("file", b"a\r\n--b\x00\xff", '; filename="a.bin"')
END = b"--b--b--\r\n"


def test_a_form_is_read_whatever_its_file_holds() -> None:
    body = part("purpose") + part("expires_after[seconds]", b"3600") + FILE + END
    upload = parse_upload(KIND, body)
    assert (upload.purpose, upload.filename) == ("batch", "a.bin")
    assert upload.content == b"a\r\n--b\x00\xff"
    assert upload.content_type == "application/octet-stream"
    assert upload.fields == (("expires_after[seconds]", "3600"),)


def test_a_file_keeps_its_name_and_type() -> None:
    named = part("file", b"a", '; filename="Grüße.txt"', "Content-Type: text/plain\r\n")
    upload = parse_upload(KIND, named + part("purpose") + END)
    assert (upload.filename, upload.content_type) == ("Grüße.txt", "text/plain")


BAD = {
    "no boundary": (b"multipart/form-data", FILE + part("purpose") + END, "content-type"),
    "no form": (b"application/json", b"{}", "content-type"),
    "no end": (KIND, FILE + part("purpose"), None),
    "words before": (KIND, b"words\r\n" + FILE + part("purpose") + END, None),
    "words behind": (KIND, FILE + part("purpose") + END + b"words", None),
    "nothing": (KIND, b"", None),
    "no file": (KIND, part("purpose") + END, "file"),
    "a file that is none": (KIND, part("file") + part("purpose") + END, "file"),
    "no purpose": (KIND, FILE + END, "purpose"),
    "a purpose of lines": (KIND, FILE + part("purpose", b"a\r\nb") + END, "purpose"),
    "two files": (KIND, FILE + FILE + part("purpose") + END, "file"),
    "another field": (KIND, FILE + part("purpose") + part("api_base") + END, "api_base"),
    "no name": (KIND, b"--b--b\r\nX: y\r\n\r\n\r\n" + END, None),
    "no head": (KIND, b"--b--b\r\nbatch\r\n" + END, None),
    "many parts": (KIND, part("purpose") * (MOST_PARTS + 1) + END, None),
    "a long head": (KIND, part("purpose", b"a", head=f"X: {'y' * 70_000}\r\n") + END, None),
    "encoded": (
        KIND,
        part("purpose", head="Content-Transfer-Encoding: base64\r\n") + FILE + END,
        "purpose",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_form_is_named(name: str) -> None:
    kind, body, param = BAD[name]
    with pytest.raises(InvalidRequestError) as caught:
        parse_upload(kind, body)
    assert caught.value.param == param

"""Keep files and run the batches in them as OpenAI does; one ends when a test opens its gate."""

import email
import itertools
import json
import re
from collections.abc import Callable
from email.message import Message
from typing import Any

from typing_extensions import override

from tests.upstream.connection import Request
from tests.upstream.openai_wire import OpenAiChat
from tests.upstream.wire import CREATED, Answer, Event, Json, Prompt, dump, words

_PATH = re.compile(r"/v1/(files|batches)(?:/([^/]+))?(?:/(content|cancel))?$")
_MISSING = {"error": {"message": "Not found.", "type": "invalid_request_error"}}
FAILS = "fails"  # how the id of a line begins that is answered with an error
_serial = itertools.count(1)  # no two files of this process have one id


class OpenAiBatches(OpenAiChat):
    """What begins a batch. The bill has its input alone: what was put out stands in its results."""

    name = "openai.batches"

    @override
    def read(self, body: Json) -> Prompt:
        asked = [line["body"] for line in body["lines"]]
        said = [one.get("messages") or one.get("input") for one in asked]
        return Prompt(model=str(asked[0].get("model")), tokens=words(said), text="", limit=0)

    @override
    def whole(self, answer: Answer) -> list[Event]:
        return [Event(dump(batch(id_of(answer.n), answer.body)))]


class Filing:
    """Every file and batch of this process: the key that it came by, and what it is."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, Json, str]] = {}
        self._begun: dict[str, tuple[str, Json]] = {}
        self._ended: dict[str, Json] = {}
        self.forms: list[list[tuple[str, str | None, str]]] = []  # name, filename, content

    def asks(self, method: str, path: str) -> bool:
        """Say whether a request is about what is kept, and not one that begins a batch."""
        return bool(_PATH.search(path)) and not (method == "POST" and path.endswith("/v1/batches"))

    def lines(self, key: str, body: Json) -> Json:
        """Return the lines of the file that a batch is to begin with, {} where there is none."""
        held = self._files.get(str(body.get("input_file_id")))
        if held is None or held[0] != key:
            return {}
        return {"lines": [json.loads(line) for line in held[2].splitlines()]}

    def begin(self, key: str, n: int, body: Json) -> None:
        self._begun[id_of(n)] = (key, body)

    def answer(
        self, key: str, request: Request, path: str, is_open: Callable[[str], bool]
    ) -> tuple[int, Any]:
        """Return status and body; what is in a file is a text."""
        found = _PATH.search(path)
        assert found is not None, "asked before"
        kind, name, part = found.groups()
        if kind == "files":
            return self._of_files(key, request, name, part)
        held = self._begun.get(name)
        if held is None or held[0] != key:
            return 404, _MISSING
        return 200, self._end(name) if is_open(name) else batch(name, held[1])

    def _of_files(
        self, key: str, request: Request, name: str | None, part: str | None
    ) -> tuple[int, Any]:
        if name is None:
            return 200, self._take(key, request)
        held = self._files.get(name)
        if held is None or held[0] != key:
            return 404, _MISSING
        if request.method == "DELETE":
            del self._files[name]
            return 200, {"id": name, "object": "file", "deleted": True}
        return (200, held[2]) if part == "content" else (200, held[1])

    def _take(self, key: str, request: Request) -> Json:
        form = _form(request)
        self.forms.append(form)
        fields = {name: content for name, _, content in form}
        filename = next(filename for name, filename, _ in form if name == "file")
        return self._keep(key, str(filename), fields["file"], fields["purpose"], fields)

    def _keep(self, key: str, filename: str, content: str, purpose: str, fields: Json) -> Json:
        name, lasts = f"file-up{next(_serial)}", fields.get("expires_after[seconds]")
        kept = {
            "id": name,
            "object": "file",
            "bytes": len(content.encode()),
            "created_at": CREATED,
            "expires_at": CREATED * 2 + int(lasts) if lasts else None,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[name] = (key, kept, content)
        return kept

    def _end(self, name: str) -> Json:
        """Return a batch that has ended; its files are made once."""
        if name not in self._ended:
            key, body = self._begun[name]
            told = [_result(line) for line in body["lines"]]
            ids = {}
            for kind, wanted in (("output", 200), ("error", 400)):
                lines = [one for one in told if one["response"]["status_code"] == wanted]
                text = "".join(json.dumps(one) + "\n" for one in lines)
                if text:
                    kept = self._keep(key, f"{name}_{kind}.jsonl", text, "batch_output", {})
                    ids[f"{kind}_file_id"] = kept["id"]
            self._ended[name] = {**batch(name, body), "status": "completed", **ids}
        return self._ended[name]


def id_of(n: int) -> str:
    return f"batch_up{n}"


def batch(name: str, body: Json) -> Json:
    return {
        "id": name,
        "object": "batch",
        "endpoint": body["endpoint"],
        "model": body["lines"][0]["body"]["model"],
        "errors": None,
        "input_file_id": body["input_file_id"],
        "completion_window": body["completion_window"],
        "status": "in_progress",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": CREATED,
        "metadata": body.get("metadata"),
    }


def _result(line: Json) -> Json:
    body, name = line["body"], line["custom_id"]
    told = {"id": f"batch_req_{name}", "custom_id": name, "error": None}
    if name.startswith(FAILS):
        error = {"error": {"message": "no", "type": "invalid_request_error"}}
        return {**told, "response": {"status_code": 400, "request_id": "r", "body": error}}
    used = words([body.get("messages") or body.get("input")])
    answer: Json = {"model": body["model"], "usage": {"prompt_tokens": used, "total_tokens": used}}
    if "messages" in body:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        said = {"role": "assistant", "content": " ".join(["answered"] * limit)}
        answer |= {"id": f"chatcmpl-{name}", "object": "chat.completion", "created": CREATED}
        answer["choices"] = [{"index": 0, "message": said, "finish_reason": "length"}]
        answer["usage"]["completion_tokens"] = limit
    else:
        answer |= {"object": "list"}
        answer["data"] = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    return {**told, "response": {"status_code": 200, "request_id": "r", "body": answer}}


def _form(request: Request) -> list[tuple[str, str | None, str]]:
    """Return the parts of a form: name, filename and content."""
    lines = request.head.split(b"\r\n")
    kind = next(line for line in lines if line.lower().startswith(b"content-type:"))
    told = email.message_from_bytes(kind + b"\r\n\r\n" + request.body)
    return [_part(part) for part in told.get_payload() if isinstance(part, Message)]


def _part(part: Message) -> tuple[str, str | None, str]:
    name = str(part.get_param("name", header="content-disposition"))
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return name, part.get_filename(), content.decode()

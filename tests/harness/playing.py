"""Play fixed answers as any number of providers, each under its own path; keep what was asked."""

from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple, Self

from typing_extensions import override


class Played(NamedTuple):
    """What one provider answers to whatever it is asked."""

    body: bytes
    content_type: str
    status: int = 200


class Asked(NamedTuple):
    """What one provider was asked last."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class PlayedProviders:
    """`base_url(name)` answers as `answers[name]` says; `asked[name]` is the last request."""

    def __init__(self, answers: Mapping[str, Played]) -> None:
        self.answers = answers
        self.asked: dict[str, Asked] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.providers = self
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def base_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    providers: PlayedProviders


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        _, name, path = self.path.split("/", 2)
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.providers.asked[name] = Asked(f"/{path}", headers, body)
        answer = self.server.providers.answers[name]
        self.send_response(answer.status)
        self.send_header("content-type", answer.content_type)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what was asked is kept."""

"""Take letters as a mail server does, and keep them; as slowly as a test wants it."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message, message_from_bytes
from typing import Any

from typing_extensions import override


class Mailbox:
    """What came, the latest last; `slow_s` is how long a greeting takes."""

    def __init__(self) -> None:
        self.letters: list[message.Message] = []
        self.slow_s = 0.0
        self.url = ""

    def to(self, address: str) -> list[str]:
        """Return the texts for an address."""
        return [
            letter.get_payload(decode=True).decode()  # type: ignore[union-attr] # one part each
            for letter in self.letters
            if letter["To"] == address
        ]


class _Conversation(socketserver.StreamRequestHandler):
    @override
    def handle(self) -> None:
        mailbox: Mailbox = self.server.mailbox  # type: ignore[attr-defined] # set below
        time.sleep(mailbox.slow_s)
        self._say("220 here")
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"DATA":
                self._say("354 go on")
                mailbox.letters.append(message_from_bytes(b"".join(self._body())))
            self._say("221 bye" if command == b"QUIT" else "250 fine")

    def _body(self) -> Iterator[bytes]:
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            yield line

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    mailbox: Any = None


@contextmanager
def receiving() -> Iterator[Mailbox]:
    with _Server(("127.0.0.1", 0), _Conversation) as server:
        mailbox = server.mailbox = Mailbox()
        mailbox.url = f"smtp://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mailbox
        server.shutdown()

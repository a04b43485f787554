"""Listen where nobody may ever connect, and count who does."""

import socketserver
import threading
from typing import Self

from typing_extensions import override


class Trap:
    """A listener on `port`; `connections` counts every connection that was made to it."""

    def __init__(self) -> None:
        self.connections = 0
        trap = self

        class Caught(socketserver.BaseRequestHandler):
            @override
            def handle(self) -> None:
                trap.connections += 1

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Caught)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

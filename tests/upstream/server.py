"""Serve the protocols of providers as scripts say, with a bill and a memory of its own.

`python -m tests.upstream.server --port 0 --port-file F`; the scripts come over `POST /__script`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.upstream.anthropic_wire import AnthropicCountTokens, AnthropicMessages
from tests.upstream.batching import AnthropicBatches
from tests.upstream.book import Book, Call, Script, answered, parse_script
from tests.upstream.connection import Connection, Request
from tests.upstream.filing import OpenAiBatches
from tests.upstream.gemini_wire import GeminiContent, GeminiCountTokens, GeminiEmbeddings, named
from tests.upstream.listed_wire import MODERATIONS, RERANK
from tests.upstream.openai_wire import OpenAiChat, OpenAiEmbeddings
from tests.upstream.player import STEPS, Player
from tests.upstream.responses_wire import (
    OpenAiCompletions,
    OpenAiResponses,
    items,
    response,
)
from tests.upstream.wire import Dialect, Json

# By the end of the path, so that any number of providers can live under prefixes of one server.
DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": OpenAiChat(),
    "/v1/completions": OpenAiCompletions(),
    "/v1/responses": OpenAiResponses(),
    "/v1/embeddings": OpenAiEmbeddings(),
    "/v1/moderations": MODERATIONS,
    "/v1/rerank": RERANK,
    "/v1/messages/count_tokens": AnthropicCountTokens(),
    "/v1/messages/batches": AnthropicBatches(),
    "/v1/messages": AnthropicMessages(),
    "/v1/batches": OpenAiBatches(),
    ":generateContent": GeminiContent(),
    ":streamGenerateContent": GeminiContent(),
    ":countTokens": GeminiCountTokens(),
    ":embedContent": GeminiEmbeddings(),
    ":batchEmbedContents": GeminiEmbeddings(),
}


class Upstream:
    """The process: routes requests to the script player or to the admin calls."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self.book = Book()
        self.connections: set[Connection] = set()
        self.opened = self.kept = 0

    def accept(self) -> Connection:
        self.opened += 1
        connection = Connection(self.opened, self.handle, self.connections.discard)
        self.connections.add(connection)
        return connection

    def is_open(self, name: str) -> bool:
        return self.book.gates[name].is_set()

    async def gate(self, name: str) -> None:
        await self.book.gates[name].wait()

    async def handle(self, connection: Connection, request: Request) -> None:
        path = urlsplit(request.path).path
        if path.startswith("/__"):
            await self.administer(connection, request)
        elif request.method == "GET" and path.endswith("/v1/models"):
            connection.reply(200, self.models())
        elif self.book.keeping.asks(request.method, path):
            body = json.loads(request.body) if request.body else {}
            told = self.book.keeping.answer(key_of(request), request.method, path, body)
            self.book.asked.append(f"{request.method} {request.path}")
            connection.reply(*told)
        elif self.book.batches.asks(path):
            told = self.book.batches.answer(key_of(request), request.method, path, self.is_open)
            self.book.asked.append(f"{request.method} {request.path}")
            connection.reply(*told)
        elif self.book.filing.asks(request.method, path):
            told = self.book.filing.answer(key_of(request), request, path, self.is_open)
            self.book.asked.append(f"{request.method} {request.path}")
            connection.reply(*told)
        else:
            await self.infer(connection, request, path)

    # --- inference

    async def infer(self, connection: Connection, request: Request, path: str) -> None:
        dialect = next((d for end, d in DIALECTS.items() if path.endswith(end)), None)
        if dialect is None or request.method != "POST":
            connection.reply(404, {"error": {"message": f"no such endpoint: {path}"}})
            return
        try:
            body = json.loads(request.body)
        except ValueError:
            connection.reply(400, dialect.error(400, "the body is not JSON"))
            return
        asked = {**body, **named(path)}
        if isinstance(dialect, OpenAiBatches):
            asked |= self.book.filing.lines(key_of(request), body)
            if "lines" not in asked:
                connection.reply(400, dialect.error(400, "no such file"))
                return
        missing = self.book.keeping.missing(key_of(request), asked)
        if missing is not None:
            connection.reply(400, dialect.error(400, f"{missing} not found"))
            return
        await self.play(connection, self.called(connection, request, dialect, asked))

    def called(
        self, connection: Connection, request: Request, dialect: Dialect, body: Json
    ) -> Call:
        prompt = dialect.read(body)
        script, attempt = self.book.chosen(prompt)
        n = len(self.book.calls) + 1
        # What is kept has an id that no other answer of this process had.
        keeps = isinstance(dialect, OpenAiResponses | AnthropicBatches | OpenAiBatches)
        self.kept += keeps
        serial = self.kept if keeps else n
        answer = answered(serial, dialect, prompt, script, body)
        call = Call(
            n=n,
            connection=connection.number,
            method=request.method,
            path=request.path,
            head=request.head,
            body=request.body,
            received_at=self.now(),
            dialect=dialect,
            prompt=prompt,
            script=script,
            attempt=attempt,
            answer=answer,
            events=dialect.stream(answer) if prompt.stream else dialect.whole(answer),
        )
        self.book.begin(call)
        if isinstance(dialect, AnthropicBatches):
            self.book.batches.begin(key_of(request), serial, body["requests"])
        if isinstance(dialect, OpenAiBatches):
            self.book.filing.begin(key_of(request), serial, body)
        if isinstance(dialect, OpenAiResponses) and body.get("store") is not False:
            kept = response(answer, items(answer), ended=True)
            self.book.keeping.keep(key_of(request), kept, [body.get("input")])
        return call

    async def play(self, connection: Connection, call: Call) -> None:
        book = self.book  # a reset in the meantime must not see this call end
        try:
            outcome = await Player(connection, call, self).play()
        except asyncio.CancelledError:
            book.end(call, "client_left", "client", at=self.now())
            raise
        except BaseException:
            book.end(call, "crashed", "upstream", at=self.now())
            raise
        book.end(call, outcome, "upstream" if outcome == "cut" else None, at=self.now())

    def models(self) -> Json:
        """One object that both protocols read as a list of models."""
        names = sorted({*self.book.scripts, *self.book.prices})
        entries = [
            {
                "id": name,
                "object": "model",
                "type": "model",
                "display_name": name,
                "created": 1_700_000_000,
                "created_at": "2023-11-14T22:13:20Z",
                "owned_by": "scripted",
            }
            for name in names
        ]
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {}
        return {"object": "list", "data": entries, "has_more": False, **ends}

    # --- administration

    async def administer(self, connection: Connection, request: Request) -> None:
        url = urlsplit(request.path)
        name, _, argument = url.path.removeprefix("/__").partition("/")
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        command = COMMANDS.get((request.method, name))
        if command is None:
            connection.reply(404, {"error": f"no such command: {url.path}"})
            return
        body = json.loads(request.body) if request.body else {}
        try:
            connection.reply(200, await command(self, {**query, **body, "argument": argument}))
        except (KeyError, TypeError, ValueError) as error:
            connection.reply(400, {"error": str(error)})

    async def script(self, asked: Json) -> Json:
        """Take one script, or for attempts 1, 2, … a sequence of scripts or of their ids."""
        asked = {key: value for key, value in asked.items() if key != "argument"}
        name, sequence = asked["id"], asked.pop("sequence", [asked])
        scripts: list[Script] = []
        for item in sequence:
            scripts += self.book.scripts[item] if isinstance(item, str) else [_script(name, item)]
        self.book.scripts[name] = scripts
        self.book.attempts[name] = 0
        return {}

    async def script_many(self, asked: Json) -> Json:
        for name, value in asked["scripts"].items():
            await self.script({"id": name, "sequence": [value]})
        return {}

    async def price(self, asked: Json) -> Json:
        self.book.prices |= {key: value for key, value in asked.items() if key != "argument"}
        return {}

    async def bill(self, _asked: Json) -> Json:
        return self.book.bill()

    async def seen(self, _asked: Json) -> Json:
        book = self.book
        return {
            "calls": [call.seen() for call in book.calls],
            "asked": book.asked,
            "forms": book.filing.forms,
            "peak": book.peak,
            "peaks": dict(book.peaks),
            "running": book.running.total(),
            "connections": self.opened,
            "open_connections": len(self.connections) - 1,  # without the one that asks
        }

    async def open_gate(self, asked: Json) -> Json:
        self.book.gates[asked["argument"]].set()
        return {}

    async def wait(self, asked: Json) -> Json:
        """Return once `seen` calls have arrived and `ended` have ended, or at the timeout."""
        seen, ended = int(asked.get("seen", 0)), int(asked.get("ended", 0))
        book, reached = self.book, True
        try:
            async with asyncio.timeout(float(asked.get("timeout", 10))):
                while len(book.calls) < seen or book.ended < ended:
                    await book.changed.wait()
        except TimeoutError:
            reached = False
        return {"reached": reached, "seen": len(book.calls), "ended": book.ended}

    async def reset(self, _asked: Json) -> Json:
        """Forget everything; calls that are still running are cut."""
        running, self.book = self.book, Book()
        numbers = {call.connection for call in running.calls if call.ended_at is None}
        for connection in list(self.connections):
            if connection.number in numbers:
                connection.hang_up("rst")
        return {}


def key_of(request: Request) -> str:
    """Return the credential of a request, as it was sent."""
    lines = request.head.decode("latin-1").split("\r\n")
    names = ("authorization:", "x-api-key:")
    return next((line for line in lines if line.lower().startswith(names)), "")


def _script(name: str, value: Json) -> Script:
    script = parse_script({**value, "id": name})
    for step in script.steps:
        if not STEPS.keys() & step.keys():
            raise ValueError(f"no such step: {step}; there are {sorted(STEPS)}")
    return script


COMMANDS: dict[tuple[str, str], Callable[[Upstream, Json], Awaitable[Json]]] = {
    ("POST", "script"): Upstream.script,
    ("POST", "scripts"): Upstream.script_many,
    ("POST", "prices"): Upstream.price,
    ("GET", "bill"): Upstream.bill,
    ("GET", "seen"): Upstream.seen,
    ("POST", "gate"): Upstream.open_gate,
    ("GET", "wait"): Upstream.wait,
    ("POST", "reset"): Upstream.reset,
}


async def serve(port: int, port_file: Path | None, *, with_stdin: bool) -> None:
    upstream = Upstream(time.monotonic)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(upstream.accept, "127.0.0.1", port, backlog=4096)
    bound = server.sockets[0].getsockname()[1]
    if port_file is not None:
        await asyncio.to_thread(port_file.write_text, str(bound))
    sys.stdout.write(f"http://127.0.0.1:{bound}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    if with_stdin:
        loop.add_reader(0, stopped.set)
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--with-stdin", action="store_true", help="end when stdin does")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.port_file, with_stdin=options.with_stdin))


if __name__ == "__main__":
    main()

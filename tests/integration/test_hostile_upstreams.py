"""Whatever a provider answers is bounded as it comes in (`scorecard.md` S11)."""

import gzip
import zlib
from base64 import b64decode
from collections.abc import Mapping

import pytest

from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect
from tests.harness.hostile import MIB
from tests.integration.besieged import Besieged
from tests.legs import Figure
from tests.upstream.player import zeros_in_gzip
from tests.upstream.scripts import Script, failing, packed, poured

pytestmark = [pytest.mark.promise("S11"), pytest.mark.timed]

ROOM = 32 * MIB
UNPACKED = 512 * MIB
GIB = 1 << 30


def zstd_bomb(size: int) -> bytes:
    """Return a frame of blocks that each say: so many times this byte (RFC 8878)."""
    longest = 128 * 1024
    block = (longest << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (longest << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd" + b"\0" + b"\x58"
    return frame + block * (size // longest - 1) + last


def deflate_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


GZIP = b"".join(zeros_in_gzip(UNPACKED))
# Half a GiB of zeros in brotli.
BROTLI = b64decode(
    "z///f/gnAOKxQCD3/p/////wTwDEYQGA7v0/////4Z8AiMMiAN37f/7//8M/ARCHBQC69//8//+HfwIgDgsAdO//"
    "+f//D/8EQBwWAOje//P//x/+CYA4LADQvf/n//8//BMAcVgAoHv/z///f/gnAOKwAED3/p/////wTwDEYQGA7v0/"
    "////4Z8AiMMCAN37f/7//8M/ARCHBQC69//8//+HfwIgDgsAdO//+f//D/8EQBwWAOje//P//x/+CYA4LADQvf/n"
    "//8//BMAcVgAoHv/z///f/gnAOKwAED3/p/////wTwDEYQGA7v0/////4Z8AiMMCAN37f/7//8M/ARCHBQC69//8"
    "//+HfwIgDgsAdO//+f//D/8EQBwWAOje//P//x/+CYA4LADQvf/n//8//BMAcVgAoHv/z///f/gnAOKwAED3/p//"
    "///wTwDEYQGA7v0/////4Z8AiMMCAN37f/7//8M/ARCHBQC69//8//+HfwIgDgsAdO//+f//D/8EQBwWAOje//P/"
    "/x/+CYA4LADQvf/P//9//BMAcVgAoHv/Dw=="
)
PACKED = {
    "gzip": packed(GZIP, "gzip"),
    "x-gzip": packed(GZIP, "X-GZip"),
    "deflate": packed(deflate_bomb(UNPACKED), "deflate"),
    "br": packed(BROTLI, "br"),
    "zstd": packed(zstd_bomb(UNPACKED), "zstd"),
    "chained": packed(gzip.compress(GZIP), "gzip, gzip"),
    "chained of two kinds": packed(gzip.compress(zstd_bomb(UNPACKED)), "zstd, gzip"),
    "unheard of": packed(GZIP, "lzma"),
}
CODED = Script(steps=({"header": ["Transfer-Encoding", "gzip, chunked"]},))
KIND: Mapping[str, Script] = {
    kind: Script(steps=({"header": ["Content-Type", kind]},))
    for kind in ("text/event-stream", "application/json")
}
LETTERS = b"x" * 65536
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
ENDLESS = {
    "a line": KIND["text/event-stream"] + poured(LETTERS, GIB, before=b"data: "),
    "lines of one event": KIND["text/event-stream"] + poured(b"data: x\n" * 8192, GIB),
    "a whole answer": KIND["application/json"] + poured(LETTERS, GIB, before=b'{"a":"'),
    "no kind of answer": KIND["application/json"] + poured(bytes(65536), GIB),
    "headers": poured(b"x-a: b\r\n" * 8192, GIB, before=HEAD, bare=True),
    "a header": poured(LETTERS, GIB, before=HEAD + b"x-a: ", bare=True),
    "a status line": poured(LETTERS, GIB, before=b"HTTP/1.1 200 ", bare=True),
    "interim answers": poured(b"HTTP/1.1 103 Early\r\n\r\n" * 3000, GIB, bare=True),
    "a chunk's extension": poured(LETTERS, GIB, before=CHUNKED + b"\r\n1;", bare=True),
    "trailers": poured(b"x-a: b\r\n" * 8192, GIB, before=CHUNKED + b"\r\n0\r\n", bare=True),
    "no HTTP": poured(LETTERS, GIB, bare=True),
}
REFUSALS = {
    "a refusal": KIND["application/json"] + poured(LETTERS, GIB, before=b'{"error":"'),
    "a packed refusal": packed(GZIP, "gzip", status=500),
}
WAYS = [
    pytest.param(dialect, model, stream, id=f"{dialect.name}-{model}-{stream}")
    for dialect in (OPENAI, ANTHROPIC)
    for model in ("bomb", "claude-bomb")
    for stream in (False, True)
]
TO_OPENAI = WAYS[:2]


def bombed(besieged: Besieged, script: Script, way: tuple[Dialect, str, bool]) -> str | None:
    """Return the code of what the caller is told, once nothing of a bomb went off."""
    dialect, model, stream = way
    besieged.upstream.script(model, script)
    told = dialect.ask(besieged.gateway.url, model, stream=stream)
    besieged.check_well(ROOM)
    assert len(told.body) < 64 * 1024
    assert (told.status, told.clean) == (502, True), told.body[:500]
    dialect.error(told)
    return told.code


@pytest.mark.parametrize(("dialect", "model", "stream"), WAYS)
def test_what_is_packed_is_not_unpacked(
    besieged: Besieged, dialect: Dialect, model: str, stream: bool, figure: Figure
) -> None:
    for script in PACKED.values():
        assert bombed(besieged, script, (dialect, model, stream)) == "upstream_invalid"
    coded = bombed(besieged, CODED + packed(GZIP, "identity"), (dialect, model, stream))
    assert coded in {"upstream_invalid", "upstream_error"}
    figure("memory of packed answers, MiB", besieged.scales.grown // MIB, "≤ 32")


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize(("dialect", "model", "stream"), TO_OPENAI)
def test_what_does_not_end_is_cut(
    besieged: Besieged, what: str, dialect: Dialect, model: str, stream: bool, figure: Figure
) -> None:
    code = bombed(besieged, ENDLESS[what], (dialect, model, stream))
    assert code in {"upstream_invalid", "upstream_error"}
    assert besieged.upstream.calls[0].outcome == "client_left"
    figure("memory of endless answers, MiB", besieged.scales.grown // MIB, "≤ 32")


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_short(besieged: Besieged, what: str) -> None:
    script = Script(steps=({"status": 500},)) + REFUSALS[what]
    code = bombed(besieged, script, (OPENAI, "bomb", False))
    assert code in {"upstream_invalid", "upstream_error"}


def test_an_honest_refusal_is_told(besieged: Besieged) -> None:
    """The control of refusals: what is short is read."""
    besieged.upstream.script("bomb", failing(422, "that is too warm"))
    told = OPENAI.ask(besieged.gateway.url, "bomb")
    assert (told.status, "too warm" in told.text) == (422, True)

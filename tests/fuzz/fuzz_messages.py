"""What the fuzzer sends: messages made by the grammar, then broken in the places where parsers disagree."""

from __future__ import annotations

import random

TOKENS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b":", b";", b",", b"\x0b", b"\xff", b"\xc3\xa9", b"0", b"-", b"+", b"0x",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"content-length:5\r\n", b"Content-Length: +3\r\n", b"Content-Length: 18446744073709551619\r\n",
    b"Content-Length : 3\r\n", b"Content-Length: 3, 3\r\n", b"Content-Length: " + b"0" * 4400 + b"3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"transfer-encoding:\tchunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: chunked;q=1\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"Connection: Transfer-Encoding\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n", b"Host: y\r\n", b"Host: a b\r\n", b"Expect: 100-continue\r\n", b" folded\r\n",
    b"0\r\n\r\n", b"1\r\na\r\n", b"ffffffffffffffff\r\n", b'1;ext="a"\r\n', b"1 ;a\r\n", b"1_0\r\n", b"0\r\nTrailer: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01",
    b"data: ", b"data:", b"event: a\n", b"id: \0\n", b"retry: 10\n", b":", b"\xef\xbb\xbf", b"--x", b"--x--", b"\r\n--x\r\n", b'name="', b"filename=", b"Content-Disposition: form-data",
]  # fmt: skip
"""Pieces that are dropped anywhere."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` with a few faults."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        # Half of the faults are where parsers decide something: at the start of a line.
        starts = [place + 1 for place, byte in enumerate(data) if byte == 10] if rng.random() < 0.5 else []
        at = rng.choice(starts) if starts else rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at] + rng.choice(TOKENS) + data[at:]
        elif kind == 1:
            data = data[:at] + rng.choice(TOKENS) + data[at + rng.randrange(1, 12) :]
        elif kind == 2:
            data = data[:at] + data[at + rng.choice((1, 1, 2, 4, 16)) :]
        elif kind == 3 and data:
            data = data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        elif kind == 4:
            end = at + rng.randrange(1, 40)
            data = data[:at] + data[at:end] * rng.choice((2, 2, 3, 60)) + data[end:]
        elif kind == 5:
            data = data[:at]
        else:
            # A line's neighbours change places, or a line is sent before any other.
            lines = data.split(b"\r\n")
            first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            data = b"\r\n".join(lines)
    return data


def cuts(data: bytes, rng: random.Random) -> list[bytes]:
    """``data`` in random pieces."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 9)))
    return [data[a:b] for a, b in zip((0, *places), (*places, len(data)), strict=True) if a < b]


def _fields(rng: random.Random) -> bytes:
    names = (b"A", b"x-long-name", b"Cookie", b"accept", b"User-Agent")
    values = (b"", b"b", b"a, b;c=d", b"\xe9", b"v" * 100, b"\tx ")
    return b"".join(b"%b: %b\r\n" % (rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(5)))


def _payload(rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"",
            b"a",
            b"abc",
            b"\r\n\r\n",
            b"0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            rng.randbytes(200),
            bytes(3000),
        )
    )


def _chunked(body: bytes, rng: random.Random) -> bytes:
    out = b""
    while body:
        size = rng.randrange(1, len(body) + 1)
        extension = rng.choice((b"", b"", b";a", b" ;a=b", b';a="\t"'))
        out += (
            rng.choice((b"%x%b\r\n", b"%X%b\r\n", b"0%x%b\r\n")) % (size, extension) + body[:size] + b"\r\n"
        )
        body = body[size:]
    return out + b"0\r\n" + rng.choice((b"", b"", b"Trailer: a\r\n")) + b"\r\n"


def framed(rng: random.Random, *, always_length: bool = False) -> tuple[bytes, bytes]:
    """Framing fields with the empty line and the body as sent, and the body itself."""
    body = _payload(rng)
    if rng.random() < 0.5:
        return b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body, rng), body
    if not body and not always_length and rng.random() < 0.5:
        return b"\r\n", body
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body), body


def requests(rng: random.Random) -> tuple[bytes, list[bytes]]:
    """Some requests that keep every rule, and the body of each."""
    data, bodies = b"", []
    for _ in range(rng.choice((1, 1, 2, 3))):
        method = rng.choice((b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"))
        target = rng.choice((b"/", b"/a/b?c=d", b"/%41%C3%A9", b"http://x/a", b"/" + b"a" * 50))
        expect = rng.choice((b"", b"", b"", b"Expect: 100-continue\r\n"))
        rest, body = framed(rng)
        empty = rng.choice((b"", b"", b"", b"\r\n", b"\r\n\r\n"))
        data += b"%b%b %b HTTP/1.1\r\nHost: x\r\n%b%b%b" % (empty, method, target, _fields(rng), expect, rest)
        bodies.append(body)
    return data, bodies


def reply(rng: random.Random) -> tuple[bytes, int, bytes]:
    """A reply that keeps every rule, its status and its body."""
    data = b"".join(
        b"HTTP/1.1 %d Early\r\n%b\r\n" % (rng.choice((100, 102, 103)), _fields(rng))
        for _ in range(rng.choice((0, 0, 0, 1, 3)))
    )
    status = rng.choice((200, 200, 200, 201, 404, 500, 204, 304))
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"))
    kind = rng.choice((b"", b"Content-Type: application/json\r\n", b"Connection: close\r\n"))
    start = b"%b %d %b\r\n%b%b" % (
        version,
        status,
        rng.choice((b"OK", b"", b"Not so good")),
        kind,
        _fields(rng),
    )
    if status in (204, 304):
        return data + start + b"\r\n", status, b""
    body = _payload(rng)
    if version == b"HTTP/1.0" or rng.random() < 0.4:
        if rng.random() < 0.3:
            return data + start + b"\r\n" + body, status, body
        return data + start + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), status, body
    return data + start + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body, rng), status, body


def events(rng: random.Random) -> tuple[bytes, list[bytes]]:
    """An event stream, and the data of each event."""
    end = rng.choice((b"\n", b"\r\n", b"\r"))
    data, found = rng.choice((b"", b"", b"\xef\xbb\xbf")), []
    for _ in range(rng.randrange(6)):
        lines = [
            rng.choice((b"", b"a", b" b", b"\xc3\xa4", b"c" * 30, b"a:b"))
            for _ in range(rng.choice((1, 1, 2)))
        ]
        data += rng.choice((b"", b": hi" + end, b"event: t" + end, b"id: 1" + end, b"retry: 5" + end))
        data += b"".join(b"data: %b%b" % (line, end) for line in lines) + end
        found.append(b"\n".join(lines))
    return data, found


def form(rng: random.Random) -> tuple[bytes, list[tuple[str, str | None, bytes]]]:
    """A form with the boundary ``x``, and its parts."""
    data, parts = rng.choice((b"", b"", b"preamble\r\n")), []
    for number in range(rng.randrange(4)):
        filename = rng.choice((None, None, "f.txt"))
        content = rng.choice((b"", b"a", b"\r\n", b"\r\n--", b"--x", b"\r", bytes(200), rng.randbytes(60)))
        file_field = b'; filename="%b"' % filename.encode() if filename else b""
        data += b'--x%b\r\nContent-Disposition: form-data; name="n%d"%b\r\n' % (
            rng.choice((b"", b" ")),
            number,
            file_field,
        )
        data += rng.choice((b"", b"Content-Type: text/plain\r\n")) + b"\r\n" + content + b"\r\n"
        parts.append((f"n{number}", filename, content))
    return data + b"--x--" + rng.choice((b"", b"\r\n", b"\r\nepilogue")), parts

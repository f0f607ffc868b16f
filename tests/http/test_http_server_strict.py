"""Requests that could be read in two ways, or are malformed, are refused with the right status."""

from __future__ import annotations

import pytest

from weft.http.message import Response
from weft.http.server import ServerLimits

LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"

REFUSED = {
    "cl_te": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te_cl": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "te_cl_http10": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "cl_duplicate_same": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "cl_duplicate_other": (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "cl_list": (400, POST + b"Content-Length: 1, 1\r\n\r\na"),
    "cl_signed": (400, POST + b"Content-Length: +1\r\n\r\na"),
    "cl_negative": (400, POST + b"Content-Length: -1\r\n\r\na"),
    "cl_hex": (400, POST + b"Content-Length: 0x1\r\n\r\na"),
    "cl_empty": (400, POST + b"Content-Length: \r\n\r\n"),
    "cl_overflow": (400, POST + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "cl_thousands_of_zeros": (400, POST + b"Content-Length: " + b"0" * 5000 + b"1\r\n\r\na"),
    "cl_largest": (413, POST + b"Content-Length: 999999999999999999\r\n\r\n"),
    "te_tab": (400, POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "te_vertical_tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "te_quoted": (501, POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "te_folded": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "te_comma": (400, POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    "te_identity_and_chunked": (
        501,
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "te_gzip": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "te_unknown": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "te_identity": (501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "te_twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "te_chunked_chunked": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "te_space_before_colon": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "obs_fold": (400, LINE + HOST + b"A: b\r\n c\r\n\r\n"),
    "obs_fold_first": (400, LINE + b" Host: x\r\n\r\n"),
    "bare_lf_line": (400, b"GET / HTTP/1.1\nHost: x\r\n\r\n"),
    "bare_lf_header": (400, LINE + b"Host: x\nA: b\r\n\r\n"),
    "bare_lf_only": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "bare_cr": (400, LINE + HOST + b"A: b\rC: d\r\n\r\n"),
    "nul_in_value": (400, LINE + HOST + b"A: b\0c\r\n\r\n"),
    "control_in_value": (400, LINE + HOST + b"A: b\x01c\r\n\r\n"),
    "bad_name": (400, LINE + HOST + b"A(b): c\r\n\r\n"),
    "empty_name": (400, LINE + HOST + b": c\r\n\r\n"),
    "no_colon": (400, LINE + HOST + b"abc\r\n\r\n"),
    "name_beyond_ascii": (400, LINE + HOST + b"A\xe9: c\r\n\r\n"),
    "no_host": (400, LINE + b"\r\n"),
    "two_hosts": (400, LINE + HOST + b"Host: y\r\n\r\n"),
    "malformed_host": (400, LINE + b"Host: x/y\r\n\r\n"),
    "host_with_user": (400, LINE + b"Host: a@b\r\n\r\n"),
    "host_and_target_disagree": (400, b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "two_spaces": (400, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tab": (400, b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "space_after_version": (400, b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
    "no_version": (400, b"GET /\r\nHost: x\r\n\r\n"),
    "lower_case_version": (400, b"GET / http/1.1\r\nHost: x\r\n\r\n"),
    "fragment": (400, b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "relative_target": (400, b"GET a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "target_beyond_ascii": (400, b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    "bad_percent": (400, b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"),
    "nul_in_path": (400, b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "path_not_utf8": (400, b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tls_hello": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "tls_hello_with_line_ends": (400, b"\x16\x03\x01\r\n\r\n"),
    "bare_lf_first": (400, b"\n" + LINE + HOST + b"\r\n"),
    "bare_cr_first": (400, b"\r" + LINE + HOST + b"\r\n"),
    "bare_cr_between_empty_lines": (400, b"\r\n\r" + LINE + HOST + b"\r\n"),
    "http2_preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "version_2": (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    "version_1_2": (505, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n"),
    "version_0_9": (505, b"GET / HTTP/0.9\r\nHost: x\r\n\r\n"),
    "unknown_method": (501, b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "lower_case_method": (501, b"get / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "connect": (501, b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "expectation": (417, POST + b"Content-Length: 1\r\nExpect: tea\r\n\r\na"),
    "long_target": (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "endless_target": (414, b"GET /" + b"a" * 40000),
    "huge_header": (431, LINE + HOST + b"A: " + b"b" * 40000 + b"\r\n\r\n"),
    "endless_header": (431, LINE + HOST + b"A: " + b"b" * 40000),
    "many_headers": (431, LINE + HOST + b"".join(b"A%d: b\r\n" % i for i in range(101)) + b"\r\n"),
    "chunk_size_sign": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n"),
    "chunk_size_0x": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
    "chunk_size_underscore": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    ),
    "chunk_size_space": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n"),
    "chunk_size_empty": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n"),
    "chunk_size_huge": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\na\r\n0\r\n\r\n",
    ),
    "chunk_size_spaces": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1" + b" " * 400),
    "chunk_extension_long": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 400),
    "chunk_bare_cr": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1\ra\r\n0\r\n\r\n"),
    "chunk_ends_early": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab\r\n0\r\n\r\n"),
    "chunk_bare_lf": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n"),
    "chunk_too_long": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"),
    "chunk_extension_lf": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nc\r\n0\r\n\r\n"),
    "trailer_malformed": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nabc\r\n\r\n"),
    "trailer_huge": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\na: " + b"b" * 9000 + b"\r\n\r\n"),
    "body_declared_huge": (413, POST + b"Content-Length: 1000001\r\n\r\n"),
    "body_chunked_huge": (
        413,
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"a" * 0xFFFFF + b"\r\n0\r\n\r\n",
    ),
}


async def echo(request) -> Response:
    return Response(body=await request.read(), content_type="text/plain")


@pytest.mark.parametrize("name", REFUSED)
async def test_is_refused(serve, name) -> None:
    """Each of these is answered with its status, and the connection is closed; nothing after it is served."""
    status, data = REFUSED[name]
    running = await serve(echo, limits=ServerLimits(max_body_bytes=1_000_000, linger_s=0.05))
    reply = await running.ask(data + LINE + HOST + b"\r\n")
    assert int(reply[9:12]) == status
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in reply


@pytest.mark.parametrize(
    "name", ["cl_te", "bare_lf_header", "chunk_size_sign", "chunk_too_long", "trailer_malformed"]
)
async def test_is_refused_in_pieces(serve, name) -> None:
    """A malformed request is refused however it is cut into packets."""
    status, data = REFUSED[name]
    running = await serve(echo, limits=ServerLimits(linger_s=0.05))
    for cut in range(1, len(data)):
        raw = await running.connect()
        await raw.pieces(data[:cut], data[cut:])
        assert int((await raw.rest())[9:12]) == status, cut
        await raw.aclose()


@pytest.mark.parametrize(
    "name", sorted(set(REFUSED) - {"body_chunked_huge", "huge_header", "endless_header", "endless_target"})
)
async def test_is_refused_byte_by_byte(serve, name) -> None:
    """A malformed request is refused with the same status when every byte comes in a packet of its own."""
    status, data = REFUSED[name]
    running = await serve(echo, limits=ServerLimits(max_body_bytes=1_000_000, linger_s=0.05))
    raw = await running.connect()
    await raw.pieces(
        *[data[i : i + 1] for i in range(min(len(data), 600))], data[600:], LINE + HOST + b"\r\n"
    )
    assert int((await raw.rest())[9:12]) == status
    await raw.aclose()


ACCEPTED = {
    "plain": (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "host_ipv6": (b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b""),
    "host_empty": (b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", b""),
    "absolute_target": (b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "options_star": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "empty_lines_first": (b"\r\n\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "upgrade_is_ignored": (
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab",
        b"ab",
    ),
    "latin1_value": (b"GET /a HTTP/1.1\r\nHost: x\r\nA: \xe9\r\n\r\n", b""),
    "length": (POST + b"Content-Length: 2\r\n\r\nab", b"ab"),
    "length_zero": (POST + b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    "chunked_upper_case": (
        POST + b"TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
    ),
    "chunked_extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0;c\r\n\r\n", b"a"),
    "chunked_trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", b"a"),
    "chunked_zeros": (POST + b"Transfer-Encoding: chunked\r\n\r\n0001\r\na\r\n000\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_is_served(serve, name) -> None:
    """Each of these is a request that keeps every rule, whole or cut in two anywhere; the next one is served after it."""
    data, body = ACCEPTED[name]
    running = await serve(echo)
    raw = await running.connect()
    for cut in range(1, len(data) + 1):
        await raw.pieces(data[:cut], data[cut:])
        status, _, answer = await raw.reply()
        assert (status, answer) == (200, body), cut
    await raw.pieces(*[data[i : i + 1] for i in range(len(data))])
    status, _, answer = await raw.reply()
    assert (status, answer) == (200, body)
    await raw.aclose()


async def test_path_is_decoded_once(serve) -> None:
    """``%2525`` is ``%25`` for the handler, and the query stays raw."""
    seen = []

    async def handler(request) -> Response:
        seen.append((request.path, request.raw_path, request.query))
        return Response()

    running = await serve(handler)
    await running.ask(b"GET /%2525%2f%C3%A9?a=%20&b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert seen == [("/%25/é", "/%2525%2f%C3%A9", "a=%20&b")]

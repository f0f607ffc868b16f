"""Forms: the same parts however the body is cut, bounded in every direction, and no file left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from weft.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError
from weft.http.message import Headers, Request
from weft.http.multipart import SPOOL_BYTES, FormLimits, MultipartReader, PartHead, read_form

FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
FILE = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="n.txt"\r\nContent-Type: text/plain\r\n\r\n'
)

FORMS = {
    "one": (FIELD + b"1\r\n--x--\r\n", [("a", None, b"1")]),
    "two": (FIELD + b"1\r\n" + FILE + b"2\r\n--x--", [("a", None, b"1"), ("f", "n.txt", b"2")]),
    "empty": (FIELD + b"\r\n--x--\r\n", [("a", None, b"")]),
    "no_parts": (b"--x--\r\n", []),
    "preamble_and_epilogue": (
        b"hello\r\n" + FIELD + b"1\r\n--x--\r\nbye --x\r\n--x\r\n",
        [("a", None, b"1")],
    ),
    "padded": (FIELD.replace(b"--x\r\n", b"--x \t \r\n") + b"1\r\n--x--\r\n", [("a", None, b"1")]),
    "nearly_boundaries": (
        FIELD + b"\r\n--\r\n-x\r\r\n\n--x\r\n--\r\n--" + b"y--x\r\n--x--",
        [("a", None, b"\r\n--\r\n-x\r\r\n\n--x\r\n--\r\n--y--x")],
    ),
    "line_ends": (FIELD + b"\r\n\r\n\r\n--x--", [("a", None, b"\r\n\r\n")]),
}

MALFORMED = {
    "no_disposition": b"--x\r\nA: b\r\n\r\n1\r\n--x--",
    "no_headers": b"--x\r\n\r\n1\r\n--x--",
    "no_name": b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
    "not_form_data": b'--x\r\nContent-Disposition: file; name="a"\r\n\r\n1\r\n--x--',
    "no_colon": b"--x\r\nContent-Disposition\r\n\r\n1\r\n--x--",
    "space_before_colon": FIELD.replace(b"position:", b"position :") + b"1\r\n--x--",
    "bare_line_feed": FIELD.replace(b'"a"', b'"a"\nb: c') + b"1\r\n--x--",
    "transfer_encoding": FIELD.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
    + b"1\r\n--x--",
    "after_boundary": b"--xyz\r\n\r\n1\r\n--x--",
    "long_padding": b"--x" + b" " * 65 + b"\r\n\r\n",
    "dash": b"--x-\r\n\r\n",
    "carriage_return": b"--x\r \r\n\r\n",
}


def read(data: bytes, *cuts: int, limits: FormLimits | None = None) -> list[tuple[str, str | None, bytes]]:
    reader = MultipartReader(b"x", limits=limits)
    parts: list[tuple[str, str | None, bytes]] = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        for event in reader.feed(data[start:end]):
            if isinstance(event, PartHead):
                parts.append((event.name, event.filename, b""))
            elif isinstance(event, bytes):
                name, filename, content = parts.pop()
                parts.append((name, filename, content + event))
    assert reader.is_complete
    return parts


@pytest.mark.parametrize("name", FORMS)
def test_parts_do_not_depend_on_cuts(name) -> None:
    """Whole, cut in two and in three at every place, and byte by byte: the same parts."""
    data, expected = FORMS[name]
    assert read(data) == expected
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1, 3):
            assert read(data, first, second) == expected, (first, second)
    assert read(data, *range(1, len(data))) == expected


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_form_is_refused(name) -> None:
    """A malformed form is InvalidRequestError wherever it is cut."""
    data = MALFORMED[name]
    for cuts in [(), *((cut,) for cut in range(len(data))), tuple(range(1, len(data)))]:
        with pytest.raises(InvalidRequestError):
            read(data, *cuts)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_bounds_do_not_depend_on_cuts(extra) -> None:
    """A part's head at its bound passes, one byte more does not, whole or byte by byte; the same for padding."""
    head = b'\r\nContent-Disposition: form-data; name="a"'
    limits = FormLimits(max_header_bytes=len(head) + 10)
    data = b"--x" + head + b"\r\nA: " + b"b" * (5 + extra) + b"\r\n\r\n1\r\n--x--"
    padded = b"--x" + b" " * (64 + extra) + head + b"\r\n\r\n1\r\n--x--"
    for cuts in ((), tuple(range(1, len(data)))):
        if extra > 0:
            with pytest.raises(PayloadTooLargeError):
                read(data, *cuts, limits=limits)
        else:
            assert read(data, *cuts, limits=limits) == [("a", None, b"1")]
    for cuts in ((), tuple(range(1, len(padded)))):
        if extra > 0:
            with pytest.raises(InvalidRequestError):
                read(padded, *cuts)
        else:
            assert read(padded, *cuts) == [("a", None, b"1")]


class Blocks:
    """A request's body in given blocks."""

    length = None

    def __init__(self, *blocks: bytes) -> None:
        self._blocks: AsyncIterator[bytes] = self._all(blocks)

    async def _all(self, blocks) -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async def take(self) -> bytes:
        return await anext(self._blocks, b"")


def request(*blocks: bytes, content_type: bytes = b"multipart/form-data; boundary=x") -> Request:
    headers = Headers([(b"content-type", content_type)])
    return Request("POST", "/", "/", "", headers, None, source=Blocks(*blocks))


async def test_form_is_read() -> None:
    """Fields and files come in order; a file's name has no folders; a long file is spooled and comes back whole."""
    long_file = bytes(range(256)) * (SPOOL_BYTES // 256 + 1)
    head = FILE.replace(b"n.txt", rb"C:\\dir\\..\\up/n.txt")
    with await read_form(request(FIELD + b"1\r\n", FIELD + b"2\r\n", head, long_file, b"\r\n--x--")) as form:
        assert form.get("a") == "1"
        assert form.get_all("a") == ["1", "2"]
        (upload,) = form.files
        assert (upload.filename, upload.content_type, upload.size) == ("n.txt", "text/plain", len(long_file))
        assert upload.file.read() == long_file
    assert upload.file.closed


@pytest.mark.parametrize(
    ("limits", "blocks"),
    [
        (FormLimits(max_parts=2), [FIELD + b"1\r\n"] * 3),
        (FormLimits(max_field_bytes=10), [FIELD, *[b"a" * 6] * 2]),
        (FormLimits(max_file_bytes=10), [FILE, *[b"a" * 6] * 2]),
        (FormLimits(max_bytes=100), [b"a" * 60] * 2),
        (FormLimits(max_header_bytes=50), [b"--x\r\n" + b"a" * 60]),
    ],
)
async def test_form_is_bounded(limits, blocks) -> None:
    """More parts, longer fields, files, bodies or heads than allowed are PayloadTooLargeError."""
    with pytest.raises(PayloadTooLargeError):
        await read_form(request(*blocks), limits=limits)


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"text/plain",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/mixed; boundary=x",
        b"multipart/form-data; boundary=" + b"a" * 71,
    ],
)
async def test_other_bodies_are_refused(content_type) -> None:
    """What is not a form, or has no usable boundary, is 415."""
    with pytest.raises(UnsupportedMediaTypeError):
        await read_form(request(b"", content_type=content_type))


@pytest.mark.parametrize(
    "data", [b"", FIELD, FIELD + b"1\r\n--x", FIELD + b"1\r\n--x\r\n", FIELD + b"\xff\r\n--x--"]
)
async def test_unfinished_form_is_refused(data) -> None:
    """A form that ends before its closing boundary, or whose field is not text, is refused."""
    with pytest.raises(InvalidRequestError):
        await read_form(request(data))

"""RTF to blocks: text, headings and tables. Objects, pictures and fields' instructions are passed over unread.

Source: Microsoft, "Rich Text Format (RTF) Specification", version 1.9.1.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import Final

from weft.components.dataprep.blocks import Block, Parsed, RefusedError

MAX_DEPTH: Final = 1_000
"""Groups in groups; word processors come to about twenty."""

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)"
)

_SILENT: Final = frozenset(
    b"fonttbl colortbl stylesheet listtable listoverridetable rsidtbl generator info pict object objdata themedata"
    b" colorschememapping datastore latentstyles header headerl headerr headerf footer footerl footerr footerf"
    b" fldinst xmlnstbl filetbl revtbl userprops docvar bkmkstart bkmkend formfield template pgptbl annotation atnid"
    b" atnauthor nonshppict shppict blipuid picprop sp shpinst mmathPr tc xe txe rxe do falt listtext pntext ftnsep ftnsepc"
    b" aftnsep aftnsepc ftncn aftncn".split()
)
_SPOKEN: Final = frozenset(b"shptxt footnote result".split())
"""Groups whose text is read although they stand in one that is passed over, or are marked as optional."""

_CHARACTERS: Final = {
    b"line": "\n", b"tab": "\t", b"emdash": "\u2014", b"endash": "\u2013", b"emspace": " ", b"enspace": " ",
    b"qmspace": " ", b"bullet": "\u2022", b"lquote": "\u2018", b"rquote": "\u2019", b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
}  # fmt: skip
_SYMBOLS: Final = {b"~": "\xa0", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\"}
_CHARSETS: Final = {
    77: "mac_roman", 128: "cp932", 129: "cp949", 134: "cp936", 136: "cp950", 161: "cp1253", 162: "cp1254",
    163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
    254: "cp437", 255: "cp850",
}  # fmt: skip
_HEADING = re.compile(r"heading (\d)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _State:
    """What a group has and gives back at its end."""

    silent: bool = False
    skip: int = 1
    font: int = 0
    table: str = ""


def parse_rtf(content: bytes) -> Parsed:
    """The text of a file, its headings and its tables.

    Raises:
        RefusedError: It is no RTF, or nested beyond all measure.
    """
    if not content.lstrip()[:5].startswith(b"{\\rtf"):
        raise RefusedError("it is called .rtf but does not begin like one")
    reader = _Reader(content)
    reader.read()
    blocks = reader.blocks
    title = reader.title.strip() or next((block.text for block in blocks if block.kind == "heading"), None)
    return Parsed(blocks, title)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._content = content
        self._state = _State()
        self._stack: list[_State] = []
        self._encoding = "cp1252"
        self._fonts: dict[int, str] = {}
        self._styles: dict[int, int] = {}
        self._style = -1
        self._skip = 0
        self._bytes = bytearray()
        self._text: list[str] = []
        self._cells: list[str] = []
        self._rows: list[str] = []
        self._in_table = False
        self._level = 0
        self._optional = False
        self._high = 0

    def read(self) -> None:
        position = 0
        while (token := _TOKEN.match(self._content, position)) is not None or position < len(self._content):
            if token is None:
                position += 1  # a lone backslash at the end
                continue
            position = token.end()
            word, number, byte, symbol, brace, run = token.groups()
            if byte is None and self._bytes:
                self._flush()
            if brace is not None:
                self._brace(brace)
            elif word is not None:
                value = int(number) if number is not None else None
                if word == b"bin":
                    position += max(value or 0, 0)
                else:
                    self._word(word, value)
                self._optional = False
            elif symbol is not None:
                self._symbol(symbol)
            elif byte is not None:
                if self._skip:
                    self._skip -= 1
                elif not self._state.silent or self._state.table == "title":
                    self._bytes += bytes.fromhex(byte.decode())
            elif run is not None:
                self._run(run)
        self._flush()
        self._paragraph()
        self._end_table()

    def _brace(self, brace: bytes) -> None:
        self._skip = 0
        if brace == b"{":
            if len(self._stack) >= MAX_DEPTH:
                raise RefusedError(f"its groups are nested more than {MAX_DEPTH:,} deep")
            self._stack.append(self._state)
        elif self._stack:
            self._state = self._stack.pop()

    def _run(self, run: bytes) -> None:
        if self._skip:
            run, self._skip = run[self._skip :], max(self._skip - len(run), 0)
        if self._state.table == "style":
            text = run.decode("latin-1").strip().rstrip(";")
            if match := _HEADING.match(text):
                self._styles[self._style] = int(match.group(1))
            elif text.lower() == "title":
                self._styles[self._style] = 1
        elif self._state.table == "title":
            self.title = (self.title + run.decode(self._encoding, "replace"))[:500]
        elif not self._state.silent and run:
            self._text.append(run.decode(self._fonts.get(self._state.font, self._encoding), "replace"))

    def _flush(self) -> None:
        if self._bytes:
            encoding = self._fonts.get(self._state.font, self._encoding)
            text = self._bytes.decode(encoding, "replace")
            if self._state.table == "title":
                self.title = (self.title + text)[:500]
            else:
                self._text.append(text)
            self._bytes.clear()

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self._optional = True
        elif symbol in (b"\n", b"\r"):
            if not self._state.silent:
                self._paragraph()
        elif not self._state.silent and symbol in _SYMBOLS:
            if self._skip:
                self._skip -= 1
            else:
                self._text.append(_SYMBOLS[symbol])

    def _word(self, word: bytes, value: int | None) -> None:
        state = self._state
        if word in _SPOKEN:
            self._state = replace(state, silent=False)
        elif word in _SILENT or self._optional:
            table = {b"fonttbl": "font", b"stylesheet": "style"}.get(word, state.table)
            self._state = replace(state, silent=True, table=table)
        elif word == b"ansicpg" and value is not None:
            self._encoding = _known(f"cp{value}") or self._encoding
        elif word == b"uc":
            self._state = replace(state, skip=min(max(value or 0, 0), 100))
        elif word == b"title" and state.silent:
            self._state = replace(state, table="title")
        elif word == b"u" and state.table == "title" and value is not None:
            self.title += chr(value & 0xFFFF) if not 0xD800 <= value & 0xFFFF < 0xE000 else ""
            self._skip = state.skip
        elif word == b"f" and value is not None:
            self._state = replace(state, font=value)
        elif word == b"fcharset" and state.table == "font" and value in _CHARSETS:
            self._fonts[state.font] = _CHARSETS[value]
        elif word == b"s" and value is not None:
            self._style = value
            self._level = self._styles.get(value, 0) if not state.silent else self._level
        elif word == b"outlinelevel" and value is not None and not state.silent:
            self._level = value + 1 if 0 <= value < 9 else 0
        elif not state.silent:
            self._shown(word, value)

    def _shown(self, word: bytes, value: int | None) -> None:
        if word == b"u" and value is not None:
            self._character(value & 0xFFFF)
            self._skip = self._state.skip
        elif word in _CHARACTERS:
            self._text.append(_CHARACTERS[word])
        elif word in (b"par", b"sect", b"page"):
            self._paragraph()
        elif word == b"pard":
            self._in_table, self._level = False, 0
        elif word == b"intbl":
            self._in_table = True
        elif word == b"cell":
            self._cells.append(" ".join("".join(self._text).split()))
            self._text.clear()
        elif word == b"row":
            if any(self._cells):
                self._rows.append(" | ".join(self._cells))
            self._cells.clear()

    def _character(self, code: int) -> None:
        if 0xD800 <= code < 0xDC00:
            self._high = code
        elif 0xDC00 <= code < 0xE000:
            if self._high:
                self._text.append(chr(0x10000 + ((self._high - 0xD800) << 10) + code - 0xDC00))
            self._high = 0
        else:
            self._text.append(chr(code))

    def _paragraph(self) -> None:
        if self._in_table and self._stack:
            self._text.append(" ")
            return
        text = " ".join("".join(self._text).split())
        self._text.clear()
        if not text:
            return
        self._end_table()
        if self._level:
            self.blocks.append(Block(text, "heading", self._level))
        else:
            self.blocks.append(Block(f"- {text[1:].strip()}" if text[0] in "•·" else text))

    def _end_table(self) -> None:
        if self._rows:
            is_table = any(" | " in row for row in self._rows) and len(self._rows) > 1
            if is_table:
                self.blocks.append(Block("\n".join(self._rows), "table", header_rows=1))
            else:
                self.blocks += [Block(row) for row in self._rows]
            self._rows.clear()


def _known(encoding: str) -> str | None:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return None

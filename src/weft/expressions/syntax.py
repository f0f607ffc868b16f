"""Text of an expression -> tree, every node with its columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from weft.errors import WeftError, did_you_mean

MAX_LENGTH: Final = 4_096
"""Longest text. An expression that a person can read has a tenth of it."""

MAX_DEPTH: Final = 48
"""Deepest tree: far below Python's recursion limit at some ten frames a level, far above what is written."""


class ExpressionError(WeftError):
    """An expression is wrong, or went wrong while it was evaluated.

    Attributes:
        column: Where the part at fault begins in the text, from 1.
        end_column: Where it ends, exclusive.
    """

    code = "expression"

    def __init__(self, message: str, *, column: int, end_column: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.column, self.end_column = column, end_column


Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: str | int | float | bool | None
    span: Span
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Name:
    """The root of a reference."""

    name: str
    span: Span
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Select:
    """``target.field``."""

    target: Node
    field: str
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Index:
    """``target[index]``."""

    target: Node
    index: Node
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function or a method, its target first among the arguments; also ``!``, ``+`` and relations by their signs."""

    function: str
    arguments: tuple[Node, ...]
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Has:
    """``has(target.field)``."""

    field: Select
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Logic:
    """``a && b && c`` or ``a || b || c``."""

    is_and: bool
    parts: tuple[Node, ...]
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class Ternary:
    """``test ? yes : no``."""

    test: Node
    yes: Node
    no: Node
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``."""

    items: tuple[Node, ...]
    span: Span
    depth: int


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{"a": b}``."""

    entries: tuple[tuple[Node, Node], ...]
    span: Span
    depth: int


Node = Literal | Name | Select | Index | Call | Has | Logic | Ternary | ListLiteral | MapLiteral


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the text; ``value`` is what a literal stands for."""

    kind: str
    text: str
    span: Span
    value: Any = None


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+ | //[^\n]*)
  | (?P<number>0x[0-9a-fA-F]+ | [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<raw>[rR](?:"[^"\n\r]*" | '[^'\n\r]*'))
  | (?P<quoted>"(?:[^"\\\n\r]|\\.)*" | '(?:[^'\\\n\r]|\\.)*')
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*)
  | (?P<sign>&&|\|\||[=!<>]=|[<>!?:.,()\[\]{}+-])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)")
_SIMPLE_ESCAPES = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))

RELATIONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
FUNCTIONS: Final = ("size",)
METHODS: Final = ("size", "startsWith", "endsWith", "contains")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_RESERVED: Final = frozenset(
    "in as break const continue else for function if import let loop package namespace return var void while".split()  # noqa: SIM905 - reads better
)
_LEFT_OUT: Final = {
    "matches": "regular expressions are not part of expressions, for one can take unbounded time",
    **dict.fromkeys(
        ("all", "exists", "exists_one", "map", "filter"), "macros over lists are not part of expressions"
    ),
    **dict.fromkeys(
        ("int", "uint", "double", "string", "bool", "bytes", "type", "dyn", "duration", "timestamp"),
        "conversions are not part of expressions",
    ),
}


ARITHMETIC: Final = "arithmetic is not part of expressions"
"""What is said of signs between numbers."""

JOINS: Final = "'+' joins strings, or lists"


def check_syntax(text: str) -> None:
    """Check that ``text`` is in the subset, whatever its names mean.

    Raises:
        ExpressionError: It is not.
    """
    parse(text)


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        ExpressionError: It is not in the subset, too long or nested too deeply.
    """
    if len(text) > MAX_LENGTH:
        message = f"the expression has {len(text):,} characters; it may have {MAX_LENGTH:,}"
        raise ExpressionError(message, column=1, end_column=len(text) + 1)
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refused_character(text, position)
        kind, span = str(match.lastgroup), (match.start() + 1, match.end() + 1)
        position = match.end()
        if kind == "space":
            continue
        word = match[0]
        value: Any = None
        if kind == "number":
            value = _number(word, span)
            if position < len(text) and (text[position].isalnum() or text[position] in "_."):
                raise ExpressionError(
                    f"'{word}{text[position]}' is not a number", column=span[0], end_column=span[1] + 1
                )
        elif kind == "raw":
            kind, value = "string", word[2:-1]
        elif kind == "quoted":
            kind, value = "string", _unescape(word[1:-1], span[0] + 1)
        elif (
            kind == "name"
            and word.lower() in ("b", "br", "rb")
            and text[position : position + 1] in ("'", '"')
        ):
            raise ExpressionError("bytes are not part of expressions", column=span[0], end_column=span[1])
        found.append(Token(kind, word, span, value))
    found.append(Token("end", "", (len(text) + 1, len(text) + 2)))
    return found


def _refused_character(text: str, position: int) -> ExpressionError:
    character = text[position]
    message = (
        f"'{character}' has no meaning in an expression"
        if character.isprintable()
        else "not a printable character"
    )
    hint = None
    if character in "\"'":
        message = "the string is not closed"
    elif character in "*/%":
        message = ARITHMETIC
    elif character in "&|":
        hint = f"did you mean '{character * 2}'?"
    elif character == "=":
        hint = "did you mean '=='?"
    end = len(text) if character in "\"'" else position + 1
    return ExpressionError(message, column=position + 1, end_column=end + 1, hint=hint)


def _number(word: str, span: Span) -> int | float:
    if word.startswith("0x") or word.isdigit():
        # At most MAX_LENGTH digits, below the number of digits at which Python refuses.
        number = int(word, 16) if word.startswith("0x") else int(word)
        if number > 2**63:  # 2**63 itself only as -2**63
            raise ExpressionError("an integer must fit into 64 bits", column=span[0], end_column=span[1])
        return number
    real = float(word)
    if real == float("inf"):
        raise ExpressionError("the number is too large", column=span[0], end_column=span[1])
    return real


def _unescape(body: str, column: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        at = column + match.start()
        if len(code) > 1:
            point = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
            if point > 0x10FFFF or 0xD800 <= point < 0xE000:
                message = f"'\\{code}' is not a character"
                raise ExpressionError(message, column=at, end_column=at + len(match[0]))
            return chr(point)
        if code not in _SIMPLE_ESCAPES:
            raise ExpressionError(f"'\\{code}' is not an escape", column=at, end_column=at + 2)
        return _SIMPLE_ESCAPES[code]

    return _ESCAPE.sub(one, body)


class _Parser:
    """Recursive descent, one method for each level of precedence."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._next, self._open = tokens, 0, 0

    def whole(self) -> Node:
        if self._peek().kind == "end":
            raise ExpressionError("the expression is empty", column=1, end_column=2)
        node = self._expression()
        if self._peek().kind != "end":
            raise self._unexpected()
        return node

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, text: str) -> bool:
        token = self._peek()
        if token.kind in ("sign", "name") and token.text == text:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> Token:
        token = self._peek()
        if not self._accept(text):
            raise self._unexpected(f"expected '{text}'")
        return token

    def _unexpected(self, expected: str = "") -> ExpressionError:
        token = self._peek()
        what = (
            "the expression ends too early" if token.kind == "end" else f"'{token.text}' does not belong here"
        )
        if token.text == "-":
            what, expected = ARITHMETIC, ""
        message = f"{what}: {expected}" if expected else what
        return ExpressionError(message, column=token.span[0], end_column=token.span[1])

    def _deeper(self, *nodes: Node) -> int:
        depth = 1 + max((node.depth for node in nodes), default=0)
        if depth + self._open > MAX_DEPTH:
            raise self._too_deep()
        return depth

    def _too_deep(self) -> ExpressionError:
        column = self._tokens[self._next - 1].span
        return ExpressionError(
            f"the expression is nested more than {MAX_DEPTH} deep", column=column[0], end_column=column[1]
        )

    def _expression(self) -> Node:
        self._open += 1
        if self._open > MAX_DEPTH:
            raise self._too_deep()
        test = self._logic("||")
        if self._accept("?"):
            yes = self._logic("||")
            self._expect(":")
            no = self._expression()
            test = Ternary(test, yes, no, (test.span[0], no.span[1]), self._deeper(test, yes, no))
        self._open -= 1
        return test

    def _logic(self, sign: str) -> Node:
        parts = [self._logic("&&") if sign == "||" else self._relation()]
        while self._accept(sign):
            parts.append(self._logic("&&") if sign == "||" else self._relation())
        if len(parts) == 1:
            return parts[0]
        span = (parts[0].span[0], parts[-1].span[1])
        return Logic(sign == "&&", tuple(parts), span, self._deeper(*parts))

    def _relation(self) -> Node:
        left = self._joined()
        while self._peek().kind in ("sign", "name") and self._peek().text in RELATIONS:
            sign = self._take().text
            right = self._joined()
            left = Call(sign, (left, right), (left.span[0], right.span[1]), self._deeper(left, right))
        return left

    def _joined(self) -> Node:
        parts = [self._unary()]
        while (sign := self._peek()).kind == "sign" and self._accept("+"):
            last = parts[-1]
            if isinstance(last, Literal) and isinstance(last.value, int | float):
                raise ExpressionError(ARITHMETIC, column=sign.span[0], end_column=sign.span[1], hint=JOINS)
            parts.append(self._unary())
        if len(parts) == 1:
            return parts[0]
        return Call("+", tuple(parts), (parts[0].span[0], parts[-1].span[1]), self._deeper(*parts))

    def _unary(self) -> Node:
        token = self._peek()
        if self._accept("!"):
            self._open += 1
            if self._open > MAX_DEPTH:
                raise self._too_deep()
            inner = self._unary()
            self._open -= 1
            return Call("!", (inner,), (token.span[0], inner.span[1]), self._deeper(inner))
        if token.text == "-" and token.kind == "sign" and self._tokens[self._next + 1].kind == "number":
            self._take()
            number = self._take()
            return self._members(Literal(-number.value, (token.span[0], number.span[1])))
        return self._members(self._primary())

    def _members(self, node: Node) -> Node:
        while True:
            if self._accept("."):
                node = self._member(node)
            elif self._accept("["):
                index = self._expression()
                end = self._expect("]").span[1]
                node = Index(node, index, (node.span[0], end), self._deeper(node, index))
            else:
                return node

    def _member(self, target: Node) -> Node:
        name = self._peek()
        if name.kind != "name":
            raise self._unexpected("expected the name of a field")
        if "-" in name.text:
            message = f"'{name.text}' is not the name of a field: only nodes have hyphens in their names"
            raise ExpressionError(message, column=name.span[0], end_column=name.span[1])
        self._take()
        if not self._accept("("):
            return Select(target, name.text, (target.span[0], name.span[1]), self._deeper(target))
        self._known(name, METHODS)
        arguments, end = self._arguments(")")
        self._count(name, arguments, 0 if name.text == "size" else 1, end)
        return Call(name.text, (target, *arguments), (target.span[0], end), self._deeper(target, *arguments))

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "number":
                if token.value == 2**63 and isinstance(token.value, int):
                    message = "an integer must fit into 64 bits"
                    raise ExpressionError(message, column=token.span[0], end_column=token.span[1])
                return Literal(token.value, token.span)
            case "string":
                return Literal(token.value, token.span)
            case "name":
                return self._name(token)
        match token.text:
            case "(":
                inner = self._expression()
                self._expect(")")
                return inner
            case "[":
                items, end = self._arguments("]")
                return ListLiteral(tuple(items), (token.span[0], end), self._deeper(*items))
            case "{":
                return self._map(token)
        self._next -= 1
        raise self._unexpected()

    def _name(self, token: Token) -> Node:
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text], token.span)
        if token.text in _RESERVED:
            message = f"'{token.text}' is a reserved word"
            raise ExpressionError(message, column=token.span[0], end_column=token.span[1])
        if not self._accept("("):
            return Name(token.text, token.span)
        self._known(token, (*FUNCTIONS, "has"))
        arguments, end = self._arguments(")")
        self._count(token, arguments, 1, end)
        span = (token.span[0], end)
        if token.text == "has":
            field = arguments[0]
            if not isinstance(field, Select):
                message = "has() takes a field: has(node.field)"
                raise ExpressionError(message, column=field.span[0], end_column=field.span[1])
            return Has(field, span, self._deeper(field))
        return Call(token.text, tuple(arguments), span, self._deeper(*arguments))

    def _known(self, name: Token, choices: tuple[str, ...]) -> None:
        if name.text in choices:
            return
        message, hint = f"there is no function '{name.text}'", None
        if name.text in _LEFT_OUT:
            message = _LEFT_OUT[name.text]
        elif name.text in METHODS or name.text == "has":
            message = f"'{name.text}' is written " + (
                "has(node.field)" if name.text == "has" else f'text.{name.text}("part")'
            )
        else:
            hint = did_you_mean(name.text, ["has", *METHODS], what="functions")
        raise ExpressionError(message, column=name.span[0], end_column=name.span[1], hint=hint)

    def _count(self, name: Token, arguments: list[Node], wanted: int, end: int) -> None:
        if len(arguments) != wanted:
            noun = "argument" if wanted == 1 else "arguments"
            message = f"'{name.text}' takes {wanted} {noun} here, not {len(arguments)}"
            raise ExpressionError(message, column=name.span[0], end_column=end)

    def _arguments(self, close: str) -> tuple[list[Node], int]:
        """Expressions up to ``close`` (a list may end with a comma), and the column after it."""
        found: list[Node] = []
        while not (self._peek().kind == "sign" and self._peek().text == close):
            found.append(self._expression())
            if not self._accept(","):
                break
            if close == ")" and self._peek().text == ")":
                raise self._unexpected()
        return found, self._expect(close).span[1]

    def _map(self, brace: Token) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not (self._peek().kind == "sign" and self._peek().text == "}"):
            name = self._expression()
            self._expect(":")
            entries.append((name, self._expression()))
            if not self._accept(","):
                break
        end = self._expect("}").span[1]
        parts = [part for entry in entries for part in entry]
        return MapLiteral(tuple(entries), (brace.span[0], end), self._deeper(*parts))

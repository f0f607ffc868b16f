"""What the fuzzer of gateways makes: JSON values, expressions, transformations and Gateway files, good and broken."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from weft.spec.gateway import TransformSpec
from weft.spec.model import Condition

ROOT = Path(__file__).resolve().parents[2]

NAMES = ("a", "b", "c", "list", "n", "text", "choices", "messages", "max_tokens")
WORDS = ("", "x", "ann", "é", "a.b", "${a}", "\ud7ff", "\U0001f600", "0", "true", "k" * 300)
NUMBERS = (0, 1, -1, 5, 2048, 2**53, 2**70, -(2**63), 0.0, -0.0, 0.5, 1e300, 3.0)


def value(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value."""
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind in (3, 4):
        return rng.choice(WORDS)
    if kind == 5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return body(rng, depth + 1)


def body(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A JSON object."""
    return {rng.choice(NAMES): value(rng, depth) for _ in range(rng.randrange(5))}


# Expressions.

PIECES = (
    "(", ")", "[", "]", "{", "}", ",", ":", "?", "&&", "||", "!", "==", "!=", "<", "<=", "in", "+", "-", "*", ".", "'", '"',
    "has(", "size(", ".size()", ".contains(", "body", "body.a", "headers", "caller", "null", "true", "1", "0x1f", "1e9", "r'\\'",
    "'\\u00e9'", "'\\x00'", "//", "\n", "\t", "é", "\0", "matches", "9" * 400, "((" * 30, "if", "b'x'", "1.", ".5",
)  # fmt: skip


def expression(rng: random.Random, depth: int = 0) -> str:
    """An expression that is in the subset, though its types need not fit."""
    kind = rng.randrange(12 if depth < 5 else 4)

    def inner() -> str:
        return expression(rng, depth + 1)

    if kind == 0:
        return rng.choice(("1", "-1", "0.5", "true", "false", "null", "'x'", '"é"', "''", "[]", "{}"))
    if kind in (1, 2):
        path = "".join(f".{rng.choice(NAMES)}" for _ in range(rng.randrange(3)))
        return rng.choice(("body", "body", "headers", "claims")) + path
    if kind == 3:
        return rng.choice(("caller", "tenant", "model", "roles", "scopes"))
    if kind == 4:
        return f"({inner()} {rng.choice(('==', '!=', '<', '<=', '>', '>=', 'in'))} {inner()})"
    if kind == 5:
        return f"({inner()} {rng.choice(('&&', '||'))} {inner()})"
    if kind == 6:
        return f"({inner()} ? {inner()} : {inner()})"
    if kind == 7:
        return f"has(body.{rng.choice(NAMES)})"
    if kind == 8:
        return f"({inner()} + {inner()})"
    if kind == 9:
        return f"[{', '.join(inner() for _ in range(rng.randrange(4)))}]"
    if kind == 10:
        return "{" + ", ".join(f"'{name}': {inner()}" for name in rng.sample(NAMES, rng.randrange(3))) + "}"
    return rng.choice((f"size({inner()})", f"!{inner()}", f"body[{inner()}]", f"caller.contains({inner()})"))


def broken(text: str, pieces: tuple[str, ...], rng: random.Random) -> str:
    """A text with a few faults."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:at] + rng.choice(pieces) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.choice((1, 1, 3, 10)) :]
        elif kind == 2:
            text = text[:at] + rng.choice(pieces) + text[at + rng.randrange(1, 8) :]
        elif kind == 3:
            end = at + rng.randrange(1, 30)
            text = text[:at] + text[at:end] * rng.choice((2, 3, 40)) + text[end:]
        else:
            lines = text.split("\n")
            first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[first], lines[second] = lines[second], lines[first]
            text = "\n".join(lines)
    return text


# Transformations.


def path(rng: random.Random) -> str:
    """A field's path."""
    return ".".join(rng.choice(NAMES) for _ in range(rng.choice((1, 1, 1, 2, 3))))


def paths(rng: random.Random) -> list[str]:
    """A few fields, each once."""
    return list(dict.fromkeys(path(rng) for _ in range(rng.randrange(3))))


def transformation(rng: random.Random) -> TransformSpec:
    """A transformation; it may contradict itself."""
    low = rng.choice((0, 1, -5))
    return TransformSpec(
        set_={name: Condition(expression(rng)) for name in paths(rng)},
        template={name: f"a ${{{expression(rng, 4)}}} b" for name in paths(rng)},
        rename={name: path(rng) for name in paths(rng)},
        remove=tuple(paths(rng)),
        defaults={name: value(rng, 3) for name in paths(rng)},
        clamp={name: (low, low + rng.randrange(3000)) for name in paths(rng)},
    )


def events(rng: random.Random) -> list[bytes]:
    """The events of a stream, each with its empty line."""
    import msgspec

    found = []
    end = rng.choice((b"\n", b"\n", b"\r\n", b"\r"))
    for _ in range(rng.randrange(6)):
        kind = rng.randrange(8)
        if kind == 0:
            found.append(
                rng.choice((b"data: [DONE]", b": ping", b"data: plain", b"data: {", b"event: x")) + end + end
            )
        elif kind == 1:
            word = rng.choice(WORDS).encode()[: rng.randrange(9)]
            found.append(b"data: %b" % repr(word).encode() + end + end)
        else:
            data = msgspec.json.encode(body(rng) | ({"error": {"a": 1}} if kind == 2 else {}))
            if kind == 3:
                data = data.replace(b'"a"', b'"\\u0061"')
            if kind == 4:
                data = data.replace(b'"x"', b'"\xff"')
            head = rng.choice((b"", b"", b"event: delta" + end, b"id: 1" + end))
            bom = b"\xef\xbb\xbf" if kind == 5 and not found else b""
            found.append(bom + head + b"data: " + data + end + end)
    return found


# Gateway files.

YAML = (
    "\n", "  ", "\t", ": ", "- ", "{", "}", "[", "]", ", ", "'", '"', "&a ", "*a", "!!str ", "? ", "| ", "> ", "%YAML 1.1\n", "---\n", "...",
    "null", "~", "true", "1e999", "0o7", "2027-01-31", "\ufeff", "\x07", "é", "#", "<<: ", "routes:", "path: /v1/x", "limits:", "{per: key}", "set:",
    "clamp: {a: [1, 2]}", "megaservice: chatqna", "schema: {$ref: '#'}", "versions:", "auth:", "roles: {a: 'true'}", "9" * 30, "x" * 200,
)  # fmt: skip


def gateway_files() -> list[str]:
    """Gateway files that are good, or have faults that somebody thought of."""
    bad = sorted((ROOT / "tests/spec/bad").glob("*gateway*.yaml"))
    found = [file.read_text(encoding="utf-8") for file in bad]
    text = (ROOT / "docs/spec/gateway.md").read_text(encoding="utf-8")
    found.append(text.partition("```yaml\n")[2].partition("```")[0])
    return found

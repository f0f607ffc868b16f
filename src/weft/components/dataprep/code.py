"""Source code to blocks: one for each function or class, as far as its lines show them, under its name.

No language is parsed: what begins at the left margin, or one level in, with a word that declares something, begins a
block; comments and decorators above it belong to it. What does not look so is cut at empty lines.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from weft.components.dataprep.blocks import Block, Parsed

LANGUAGES: Final[dict[str, str]] = {
    ".py": "Python", ".pyi": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".cjs": "JavaScript",
    ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript", ".java": "Java", ".kt": "Kotlin", ".kts": "Kotlin",
    ".scala": "Scala", ".groovy": "Groovy", ".gradle": "Groovy", ".c": "C", ".h": "C", ".cc": "C++", ".cpp": "C++",
    ".cxx": "C++", ".hpp": "C++", ".hh": "C++", ".cs": "C#", ".go": "Go", ".rs": "Rust", ".rb": "Ruby", ".php": "PHP",
    ".swift": "Swift", ".m": "Objective-C", ".pl": "Perl", ".pm": "Perl", ".lua": "Lua", ".r": "R", ".jl": "Julia",
    ".sh": "shell", ".bash": "shell", ".zsh": "shell", ".ps1": "PowerShell", ".sql": "SQL", ".dart": "Dart",
    ".ex": "Elixir", ".exs": "Elixir", ".erl": "Erlang", ".hs": "Haskell", ".clj": "Clojure", ".ml": "OCaml",
    ".fs": "F#", ".vb": "Visual Basic", ".proto": "Protocol Buffers", ".graphql": "GraphQL", ".tf": "Terraform",
    ".css": "CSS", ".scss": "CSS", ".vue": "Vue", ".svelte": "Svelte", ".cmake": "CMake",
    ".yaml": "YAML", ".yml": "YAML", ".toml": "TOML", ".ini": "INI", ".cfg": "INI", ".conf": "configuration",
    ".properties": "configuration",
}  # fmt: skip
NAMES: Final = {
    "makefile": "Make",
    "dockerfile": "Dockerfile",
    "containerfile": "Dockerfile",
    "jenkinsfile": "Groovy",
}
"""Files that are called by their kind, without a suffix."""

_DECLARES = re.compile(
    r"(?P<margin>[ \t]{0,8})"
    r"(?:(?:export|default|pub(?:\([a-z]{1,10}\))?|public|private|protected|internal|static|abstract|final|sealed|async|override"
    r"|virtual|inline|extern|unsafe|const|partial|open|data|suspend|local)[ \t]{1,8}){0,6}"
    r"(?P<kind>def|class|function\*?|func|fn|fun|interface|struct|enum|trait|impl|protocol|extension|module|namespace"
    r"|record|object|sub|type|macro_rules!|message|service|resource|create[ \t]{1,4}(?:or[ \t]{1,4}replace[ \t]{1,4})?(?:table|view|function|procedure))"
    r"[ \t]{1,8}(?:if[ \t]{1,4}not[ \t]{1,4}exists[ \t]{1,4})?(?:\([^()\n]{0,80}\)[ \t]{0,4})?(?P<name>[\w.$:\"`]{1,80})",
    re.IGNORECASE,
)
_C_LIKE = re.compile(
    r"[A-Za-z_][\w :<>,*&~\[\]]{0,120}?[ *&](?P<name>~?[A-Za-z_][\w:]{0,80})[ \t]?\([^;{\n]{0,300}(?:\{|$)"
)
_ASSIGNED = re.compile(
    r"(?:export[ \t]{1,4})?(?:const|let|var)[ \t]{1,4}(?P<name>[\w$]{1,80})[ \t]?=[ \t]?(?:async[ \t]{1,4})?(?:function|\(|[\w$]{1,40}[ \t]?=>)"
)
_ABOVE = re.compile(r"[ \t]*(?://|/\*|\*|#(?!include|define|if|endif|pragma)|--|@|\[\w|;;|\"\"\"|%)")
_ALL_C: Final = frozenset({"C", "C++", "C#", "Java", "Objective-C", "Dart"})
_WORDS: Final = frozenset(
    {"if", "for", "while", "switch", "return", "else", "catch", "new", "do", "sizeof", "using", "throw"}
)
_MEMBERS: Final = frozenset(
    {
        "class",
        "impl",
        "trait",
        "interface",
        "struct",
        "module",
        "namespace",
        "extension",
        "object",
        "protocol",
    }
)


def language_of(name: str) -> str | None:
    """The language of a source file by its name; None: it is none."""
    path = PurePosixPath(name.lower())
    return LANGUAGES.get(path.suffix) or NAMES.get(path.name)


def parse_code(text: str, name: str) -> Parsed:
    """The functions and classes of a file, each under its name, and what stands between them."""
    language = language_of(name) or ""
    blocks: list[Block] = []
    lines: list[str] = []
    above: list[str] = []
    label = outer = ""

    def end(kept: list[str], called: str) -> None:
        words = "\n".join(kept).strip("\n").rstrip()
        if words.strip():
            blocks.append(Block(words, "code", label=called))

    for line in text.split("\n"):
        found = _declared(line[:500], language)  # a longer one is data, or was made by a program
        if found is not None:
            margin, kind, words = found
            if margin == 0 or outer:
                end(lines, label)
                lines = [*above, line]
                above = []
                label = f"{outer} > {words}" if margin and outer else words
                if margin == 0:
                    outer = words if kind in _MEMBERS else ""
                continue
        if _ABOVE.match(line) and not (
            lines and lines[-1].strip()
        ):  # a comment, not one inside what is being read
            above.append(line)
            continue
        lines += above
        above = []
        lines.append(line)
        if not line.strip() and not label:
            end(lines, "")
            lines = []
    end([*lines, *above], label)
    return Parsed(blocks)


def _declared(line: str, language: str) -> tuple[int, str, str] | None:
    """Margin, kind and name of what a line declares; None: nothing."""
    if match := _DECLARES.match(line):
        kind = match.group("kind").lower()
        margin = match.group("margin").replace("\t", "    ")
        if len(margin) <= 4:
            name = match.group("name").strip(':"`')
            return len(margin), kind, f"{kind} {name}"
        return None
    if (match := _ASSIGNED.match(line)) is not None:
        return 0, "function", f"function {match.group('name')}"
    if language in _ALL_C and line[:1] not in ("", " ", "\t", "#", "}", "/", "*"):
        match = _C_LIKE.match(line)
        if match and match.group("name") not in _WORDS and line.split(maxsplit=1)[0] not in _WORDS:
            return 0, "function", f"function {match.group('name')}"
    return None

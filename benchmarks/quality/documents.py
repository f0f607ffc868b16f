"""Questions about documents of every format, asked of a real ``weft up chatqna``; a table by format.

    python benchmarks/quality/documents.py [--set held-out] [--only pdf,docx] [--quotes] [--out FILE]

Every document is handed over by HTTP and its outcome compared with what it should be; every question goes to
``/v1/chat/completions``. A passage is *cited first* when that of the reply's first citation has the string in it by which
the question names the right one; *answered* is a reply that has one of the accepted answers in it, as words of their own;
a *right refusal* is a reply whose first words say that the documents do not answer. It may show the nearest that they have;
where a question has an answer, such a reply is neither cited nor answered, whatever it shows. Intervals are 95 % (Wilson).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "corpus")]

from build import build  # noqa: E402 - beside this file
from server import Reply, Server, running  # noqa: E402

SETS = {
    "first": "questions.jsonl",
    "held-out": "questions-held-out.jsonl",
    "third": "questions-third.jsonl",
}

EXPECTED: dict[str, tuple[str, str]] = {
    "pdf/board-report-password.pdf": ("refused", "password"),
    "pdf/surveyor-report-partly.pdf": ("partly", ""),
    "txt/empty-note.txt": ("refused", "empty"),
    "txt/ryokan-annai.txt": ("refused", "language"),
}
"""Outcomes other than *ingested*, and a word that the reason has to have."""

SAYS_NO = re.compile(
    r"[^\"\u201c]{0,200}?\b((do|does|did) not (answer|say|mention|contain)|no (answer|document))",
    re.IGNORECASE,
)
"""Matched at the beginning of a reply, before anything that is quoted."""


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--set",
        choices=SETS,
        default="first",
        help="which questions; the third is about a few more documents, too",
    )
    parser.add_argument("--held-out", action="store_const", dest="set", const="held-out", help="the second")
    parser.add_argument(
        "--only", default="", help="formats, by comma: their questions only (all documents go in)"
    )
    parser.add_argument(
        "--quotes", action="store_true", help="quotes only: the model says one token, for quick runs"
    )
    parser.add_argument("--out", type=Path, help="write every question's result there, as JSON")
    options = parser.parse_args()
    questions = read(HERE / SETS[options.set])
    if options.only:
        wanted = options.only.split(",")
        questions = [question for question in questions if place(question) in wanted]
    with TemporaryDirectory() as name, web(Path(name) / "links") as site, running(links=True) as server:
        folder = Path(name)
        absent = build(folder, later=options.set == "third")
        began = time.monotonic()
        counts, problems = take_in(server, folder, site)
        print(
            f"{sum(counts.values())} documents in {time.monotonic() - began:.0f} s, {len(problems)} not as expected"
        )
        for problem in problems:
            print(f"  {problem}")
        for missing in absent:
            print(f"  absent, its questions are not asked: {missing}")
        asked = [
            ask(server, question, quotes=options.quotes)
            for question in questions
            if question.get("file") not in absent
        ]
    print(table(asked, counts))
    for result in asked:
        if not result["right"]:
            print(missed(result))
    if options.out:
        options.out.write_text(json.dumps(asked, ensure_ascii=False, indent=1), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """Questions, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def place(question: dict[str, Any]) -> str:
    """The format that a question counts for."""
    return str(question.get("file") or question["near"]).partition("/")[0]


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """A web server of ``folder``; its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    site = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{site.server_address[1]}"
    finally:
        site.shutdown()
        site.server_close()


def take_in(server: Server, folder: Path, site: str) -> tuple[dict[str, int], list[str]]:
    """Hand every document over; how many by format, and what is not as it should be."""
    counts: dict[str, int] = defaultdict(int)
    problems: list[str] = []
    batches: dict[str, list[tuple[str, bytes]]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        kind = name.partition("/")[0]
        if kind == "links":
            continue
        # A folder is handed over in one request, as a browser does; every other document in one of its own.
        batch = "/".join(name.split("/")[:2]) if kind == "folders" else name
        batches.setdefault(batch, []).append((name, path.read_bytes()))
    requests: list[tuple[str, list[tuple[str, bytes]], list[str]]] = [
        (name, files, []) for name, files in batches.items()
    ]
    requests += [
        (f"links/{path.name}", [], [f"{site}/{path.name}"]) for path in sorted((folder / "links").iterdir())
    ]
    for name, files, links in requests:
        status, body = server.ingest(files, links)
        counts[name.partition("/")[0]] += 1
        problems += check(name, status, body, len(files) + len(links))
    return counts, problems


def check(name: str, status: int, body: Any, sent: int) -> list[str]:
    """What is wrong with the reply to an upload."""
    outcome, reason = EXPECTED.get(name, ("ingested", ""))
    files = body.get("files") if isinstance(body, dict) else None
    if not files:
        return [f"{name}: {status} {str(body)[:200]}"]
    problems = [] if len(files) >= sent else [f"{name}: {len(files)} outcomes for {sent} files"]
    for file in files:
        said = f"{file['outcome']} {file.get('reason') or ''}"
        if file["outcome"] != outcome or reason not in said:
            problems.append(f"{file['name']}: {said.strip()}; expected {outcome} {reason}".rstrip())
    return problems


def plain(text: str) -> str:
    """Lower case, one space between words, and typographic variants alike: what does not count when texts are compared."""
    text = (
        unicodedata.normalize("NFKC", text)
        .lower()
        .replace("\u2019", "'")
        .replace("\u2013", "-")
        .replace("\u2011", "-")
    )
    return " ".join(text.split())


def has_answer(text: str, answers: list[str]) -> bool:
    """Whether one of the answers is in the text, as words of their own: 20 is not in 20.5, 120 or 20,000."""
    return any(
        re.search(rf"(?<![\w])(?<!\d[.,]){re.escape(plain(answer))}(?![\w])(?![.,]\d)", plain(text))
        for answer in answers
    )


def ask(server: Server, question: dict[str, Any], *, quotes: bool) -> dict[str, Any]:
    """Ask one question and judge the reply."""
    reply = server.ask(question["question"], max_tokens=1 if quotes else None)
    return {**question, **judge(server, question, reply), "first_s": reply.first_s, "whole_s": reply.whole_s}


def judge(server: Server, question: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """What is right about a reply."""
    refused = SAYS_NO.match(reply.text) is not None
    found = {"reply": reply.text, "citations": reply.citations, "refused": refused}
    if "answers" not in question:
        return found | {"right": refused}
    passage = plain(server.passage(reply.citations[0], question["question"])) if reply.citations else ""
    cited = not refused and any(
        all(plain(part) in passage for part in option) for option in question["passage"]
    )
    answered = not refused and has_answer(reply.text, question["answers"])
    return found | {
        "cited": cited,
        "answered": answered,
        "passage_cited": passage,
        "right": cited and answered,
    }


def interval(right: int, of: int) -> str:
    """A share with its 95 % interval, after Wilson."""
    if not of:
        return "-"
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    wide = z * ((share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5) / (1 + z * z / of)
    return f"{right}/{of} = {100 * share:.0f} % ({100 * (middle - wide):.0f}-{100 * (middle + wide):.0f})"


def table(asked: list[dict[str, Any]], counts: dict[str, int]) -> str:
    """A row for each format, and one for all."""
    rows = [
        "| format | documents | questions | right passage cited first | answer in the reply | unanswerable | said so | median s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in asked:
        groups[place(result)].append(result)
    for name in [*sorted(groups), "all"]:
        results = asked if name == "all" else groups[name]
        known = [result for result in results if "answers" in result]
        unknown = [result for result in results if "answers" not in result]
        cited, answered = sum(r["cited"] for r in known), sum(r["answered"] for r in known)
        said = sum(r["right"] for r in unknown)
        total = name == "all"
        cells = [
            interval(cited, len(known)) if total else f"{cited}/{len(known)}",
            interval(answered, len(known)) if total else f"{answered}/{len(known)}",
            str(len(unknown)),
            interval(said, len(unknown)) if total else f"{said}/{len(unknown)}",
            f"{median(r['whole_s'] for r in results):.1f}",
        ]
        documents = sum(counts.values()) if total else counts.get(name, 0)
        rows.append(f"| {name} | {documents} | {len(known)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def missed(result: dict[str, Any]) -> str:
    """One line that says what went wrong."""
    what = [name for name in ("cited", "answered") if not result.get(name, True)] or ["refused"]
    where = "; ".join(f"{c.get('source')} {c.get('quote')!r}" for c in result["citations"])[:300]
    wanted = result.get("answers", "no answer")
    return f"{result['id']} not {' nor '.join(what)}: {result['question']} [{place(result)}; {wanted}] -> {where or result['reply'][:80]}"


if __name__ == "__main__":
    main()

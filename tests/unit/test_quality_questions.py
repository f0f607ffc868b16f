"""The questions of the quality benchmark belong to its documents, and its judge is strict."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

QUALITY = Path(__file__).resolve().parents[2] / "benchmarks" / "quality"
SETS = ("questions.jsonl", "questions-held-out.jsonl", "questions-third.jsonl")


def questions(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (QUALITY / name).read_text(encoding="utf-8").splitlines()]


def sources(file: str) -> list[Path]:
    """What a document of the benchmark is made from."""
    kind, _, rest = file.partition("/")
    texts = QUALITY / "corpus" / "texts" / kind / f"{Path(rest).stem}.txt"
    copied = QUALITY / "corpus" / "files" / file
    inner = QUALITY / "corpus" / "files" / kind / Path(rest).stem
    later = QUALITY / "corpus" / "later" / file
    return [path for path in (texts, copied, inner, later) if path.exists()]


@pytest.mark.parametrize("name", SETS)
def test_each_question_is_about_a_document_that_there_is(name: str) -> None:
    """One source for each file, except Debian's own, which come from its packages."""
    for question in questions(name):
        file = str(question.get("file") or question["near"])
        assert file.startswith("debian/") or len(sources(file)) == 1, question


def test_no_question_is_asked_twice() -> None:
    """Neither within a set nor in two: the later ones are held out from the first."""
    asked = [question["question"] for name in SETS for question in questions(name)]
    assert len({*asked}) == len(asked)


def test_an_answer_counts_as_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 is not in 20.5, 120 or 20,000; typography and case make no difference."""
    monkeypatch.syspath_prepend(str(QUALITY))
    monkeypatch.syspath_prepend(str(QUALITY / "corpus"))
    before = {*sys.modules}
    import documents

    try:
        assert documents.has_answer("It pauses for 20 minutes.", ["20"])
        assert not any(documents.has_answer(text, ["20"]) for text in ("20.5", "120", "20,000", "a20"))
        assert documents.has_answer("Maeve O\u2019Sullivan", ["maeve o'sullivan"])
        assert documents.SAYS_NO.match(
            "The documents do not answer this question.\n\nThe nearest: \u201cx\u201d"
        )
        assert not documents.SAYS_NO.match("\u201cWe do not answer letters.\u201d [1] (letter.txt)")
    finally:
        for module in {*sys.modules} - before:
            if str(getattr(sys.modules[module], "__file__", "")).startswith(str(QUALITY)):
                del sys.modules[module]

"""The question set: paragraphs of an encyclopedia with questions and their answers, article by article."""

from __future__ import annotations

import argparse
import urllib.request
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from weft.text import words

URL = "https://raw.githubusercontent.com/google-deepmind/xquad/master/xquad.en.json"
CACHE = Path.home() / ".cache" / "weft-benchmarks" / "xquad.en.json"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        article: The number of its article.
        file: The paragraph that answers it.
        answers: Any of them will do.
    """

    text: str
    article: int
    file: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Xquad:
    """All of it.

    Attributes:
        texts: Each paragraph by the name of the file that it is ingested as; the names say nothing of the content.
        articles: The files of each article.
    """

    texts: dict[str, str]
    articles: list[list[str]]
    questions: list[Question]


def load(path: str | None) -> Xquad:
    """Read the file, or download the public one."""
    if path is None:
        if not CACHE.exists():
            CACHE.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(URL, timeout=60) as reply:
                CACHE.write_bytes(reply.read())
        path = str(CACHE)
    texts: dict[str, str] = {}
    articles: list[list[str]] = []
    questions: list[Question] = []
    for number, article in enumerate(msgspec.json.decode(Path(path).read_bytes())["data"]):
        articles.append([])
        for paragraph in article["paragraphs"]:
            file = f"{len(texts):03}.txt"
            texts[file] = paragraph["context"]
            articles[-1].append(file)
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                questions.append(Question(asked["question"], number, file, answers))
    return Xquad(texts, articles, questions)


def arguments(description: str, *add: Callable[[argparse.ArgumentParser], object]) -> argparse.Namespace:
    """The command line that these measurements share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "path", nargs="?", help="xquad.en.json or a part of it; the public file is downloaded if left out"
    )
    for added in add:
        added(parser)
    return parser.parse_args()


def contains(text: str, answers: Collection[str]) -> bool:
    """Whether a text has an answer, word for word: ``two`` is not in ``network``."""
    said = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(answer))} " in said for answer in answers)


def interval(values: Sequence[float] | np.ndarray, articles: Sequence[int], *, times: int = 2_000) -> str:
    """The mean with its 95 % interval: a bootstrap over articles, for questions on one article are not independent."""
    values, groups = np.asarray(values, float), np.asarray(articles)
    sums = np.array([values[groups == group].sum() for group in np.unique(groups)])
    sizes = np.array([(groups == group).sum() for group in np.unique(groups)])
    drawn = np.random.default_rng(0).integers(0, len(sums), (times, len(sums)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"

"""Whether the quotes have the answer, whether questions without one are told apart, and what the model's own words are worth.

    python benchmarks/quality/evidence.py [xquad.en.json] [--splits 3] [--model 100]

Everything goes through ChatQnA's own services: retrieve, rerank, read. For the questions without an answer half of the articles are
ingested and all questions are asked: those of the other half have no answer. The threshold is set on one half, so that 4 % of its
own questions are refused, and tried with the other half ingested; then the halves change places. The graph's answers in the model's
own words are asked for last, of as many questions as ``--model`` says.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
from installation import Installation, installed
from xquad import Question, Xquad, arguments, contains, interval, load

from weft.components.evidence.reader import ExtractiveReader
from weft.contracts.chat import ChatRequest
from weft.contracts.retriever import RetrieveRequest
from weft.errors import DeadlineError
from weft.types import Evidence, Message

FALSE_REFUSALS = 0.04
"""What the threshold is set to on the half that it is set on."""

AT_ONCE = 4


@dataclass
class Half:
    """Half of the articles ingested, and all questions asked.

    Attributes:
        scores: Of each question's evidence.
        answerable: Whether its article is in.
    """

    scores: np.ndarray
    answerable: np.ndarray

    def threshold(self) -> float:
        """Where so many of the answerable questions are below."""
        return float(np.quantile(self.scores[self.answerable], FALSE_REFUSALS))

    def auroc(self) -> float:
        """How probable it is that an answerable question has a higher score than another one."""
        yes, no = self.scores[self.answerable], self.scores[~self.answerable]
        return float((yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2)

    def refused(self, threshold: float) -> float:
        """Share of the answerable questions that are refused."""
        return float((self.scores[self.answerable] < threshold).mean())

    def answered(self, threshold: float) -> float:
        """Share of the other questions that are answered."""
        return float((self.scores[~self.answerable] >= threshold).mean())


async def evidence(
    installation: Installation, questions: Sequence[Question], max_quotes: int | None = None
) -> list[Evidence]:
    """The evidence for each question, as the graph finds it."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(question: Question) -> Evidence:
        async with gate:
            return await installation.evidence(question.text, max_quotes)

    return list(await asyncio.gather(*(one(question) for question in questions)))


def said(found: Evidence) -> str:
    """All quotes of one evidence."""
    return "\n".join(quote.text for quote in found.quotes)


async def quotes(installation: Installation, data: Xquad) -> None:
    """Print how often quotes have the answer."""
    articles = [question.article for question in data.questions]
    print("| quoted | has the answer | words, mean | words, 95th percentile |\n|---|---|---|---|")
    default = signature(ExtractiveReader).parameters["max_quotes"].default
    for count in (1, 2, 3):
        found = await evidence(installation, data.questions, count)
        has = [contains(said(e), q.answers) for e, q in zip(found, data.questions, strict=True)]
        length = [len(said(e).split()) for e in found]
        name = f"{count} sentence{'s' if count > 1 else ''}{' (default)' if count == default else ''}"
        print(
            f"| {name} | {interval(has, articles)} | {np.mean(length):.1f} | {np.quantile(length, 0.95):.0f} |"
        )
    print()


async def half(installation: Installation, data: Xquad, articles: set[int]) -> Half:
    """Ingest these articles, and nothing else, and ask everything."""
    await installation.clear()
    await installation.ingest(
        {f: data.texts[f] for article in sorted(articles) for f in data.articles[article]}
    )
    found = await evidence(installation, data.questions)
    answerable = np.array([question.article in articles for question in data.questions])
    return Half(np.array([e.score for e in found]), answerable)


async def unanswerable(installation: Installation, data: Xquad, splits: int) -> None:
    """Print how well questions without an answer are told apart."""
    count = len(data.articles)
    default = signature(ExtractiveReader).parameters["threshold"].default
    print(
        f"| split | AUROC | threshold of the other half | false refusals | false answers | both at the default, {default} |"
    )
    print("|---|---|---|---|---|---|")
    table = []
    for split in range(splits):
        # The first is the plain one: every other article.
        order = np.arange(count) if split == 0 else np.random.default_rng(split).permutation(count)
        one, other = {*order[::2].tolist()}, {*order[1::2].tolist()}
        halves = [await half(installation, data, one), await half(installation, data, other)]
        for set_on, tried in (halves, halves[::-1]):
            threshold = set_on.threshold()
            row = [tried.auroc(), threshold, tried.refused(threshold), tried.answered(threshold)]
            row += [tried.refused(default), tried.answered(default)]
            table.append(row)
            print(f"| {_row(str(split + 1), row)} |", flush=True)
    print(f"| {_row('mean', np.mean(table, 0).tolist())} |\n")


def _row(name: str, row: Sequence[float]) -> str:
    auroc, threshold, refused, answered, *default = row
    return f"{name} | {auroc:.4f} | {threshold:.3f} | {refused:.1%} | {answered:.1%} | {default[0]:.1%}, {default[1]:.1%}"


async def siblings(installation: Installation, data: Xquad) -> None:
    """Print how many questions are still answered when the paragraph that answers them is gone, and its article is not."""
    kept = []
    for question in data.questions:
        reply = await installation.call("retriever", RetrieveRequest(question.text, 8))
        documents = [document for document in reply.documents if document.source != question.file][:4]
        found = await installation.read(question.text, await installation.rerank(question.text, documents))
        kept.append(found.answerable)
    answered = interval(kept, [question.article for question in data.questions])
    print(
        f"Without its own paragraph, but with the rest of its article, a question is answered in {answered} of the cases.\n"
    )


async def words(installation: Installation, data: Xquad, count: int) -> None:
    """Print how often the graph's reply, and the model's own words in it, have the answer."""
    drawn = np.random.default_rng(0).permutation(len(data.questions))[:count]
    chosen = [data.questions[index] for index in sorted(drawn.tolist())]
    replies, own, articles = [], [], []
    late = 0
    for question in chosen:
        messages = [Message("user", question.text)]
        try:
            reply = await installation.ask(
                "chatqna", ChatRequest(messages, max_tokens=60, temperature=0, seed=1)
            )
        except DeadlineError:
            late += 1
            continue
        articles.append(question.article)
        message = reply.choices[0].message
        text = message.text()
        # With a small model the quote leads: its words are what follows the last citation's line.
        end = max((mark.end_index or 0 for mark in message.annotations or []), default=0)
        after = text[end:].partition("\n\n")[2] if end else text
        replies.append(contains(text, question.answers))
        own.append(contains(after, question.answers))
    print(f"Of {len(replies)} replies of the graph {interval(replies, articles)} have the answer,")
    print(
        f"the model's own words alone {interval(own, articles)}. No reply in time, and not counted: {late}."
    )


async def measure(data: Xquad, *, splits: int, model: int) -> None:
    """Print the tables."""
    async with installed() as installation:
        if splits:
            await unanswerable(installation, data, splits)
        await installation.clear()
        await installation.ingest(data.texts)
        await quotes(installation, data)
        await siblings(installation, data)
        if model:
            await words(installation, data, model)


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--splits", type=int, default=3, help="halvings of the articles (3)")
    parser.add_argument("--model", type=int, default=100, help="questions for the model's own words (100)")


if __name__ == "__main__":
    given = arguments(__doc__ or "", _options)
    asyncio.run(measure(load(given.path), splits=given.splits, model=given.model))

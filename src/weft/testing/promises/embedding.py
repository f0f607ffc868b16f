"""What an embedding service promises: section 8.3 of the specification."""

from __future__ import annotations

import math
from typing import Final

from weft.contracts.embedding import CONTRACT, EmbeddingRequest
from weft.testing.promises.base import Broken, Family, Promises, Subject, expect
from weft.testing.promises.texts import LONG, PASSAGES, QUESTIONS, SCRIPTS
from weft.text import cosine
from weft.types import floats

EMBEDDING: Final[Promises[Subject]] = Promises()

SAME: Final = 0.999
"""Cosine from which two vectors are the same one: quantised models and other batches change the last digits."""


async def _vectors(subject: Subject, texts: list[str]) -> list[list[float]]:
    reply = await subject.ask(EmbeddingRequest(texts))
    try:
        return [floats(embedding) for embedding in reply.embeddings]
    except ValueError as error:
        raise Broken(str(error)) from error


@EMBEDDING("8.3.1")
async def one_vector_for_each_text(subject: Subject) -> None:
    """There must be one vector for each text, in the order of the texts."""
    texts = [*PASSAGES, *SCRIPTS, PASSAGES[0]]
    together = await _vectors(subject, texts)
    expect(len(together) == len(texts), f"{len(together)} vectors for {len(texts)} texts")
    expect(cosine(together[0], together[-1]) >= SAME, "the same text has two vectors in one reply")
    for index in (0, 2, 4):
        alone = (await _vectors(subject, [texts[index]]))[0]
        near = [cosine(alone, vector) for vector in together]
        expect(near[index] >= max(near) - 1e-6, f"vector {index} is not that of text {index}")


@EMBEDDING("8.3.2")
async def vectors_have_one_length(subject: Subject) -> None:
    """All vectors must have the same number of dimensions, and every number must be finite."""
    vectors = await _vectors(subject, [*PASSAGES, *SCRIPTS]) + await _vectors(subject, ["one"])
    sizes = {len(vector) for vector in vectors}
    expect(len(sizes) == 1 and 0 not in sizes, f"dimensions {sorted(sizes)}")
    expect(all(math.isfinite(number) for vector in vectors for number in vector), "a number is not finite")


@EMBEDDING("8.3.3")
async def company_does_not_matter(subject: Subject) -> None:
    """The vector of a text must not depend on the other texts of the request."""
    alone = (await _vectors(subject, [PASSAGES[0]]))[0]
    beside = (await _vectors(subject, [LONG[:2_000], PASSAGES[0], "x"]))[1]
    near = cosine(alone, beside)
    expect(near >= SAME, f"cosine {near:.4f} between the two")


@EMBEDDING("8.3.4")
async def no_texts_are_refused(subject: Subject) -> None:
    """A request without texts must be refused."""
    await subject.refuses(EmbeddingRequest([]))


@EMBEDDING("8.3.5")
async def odd_texts_do_not_break_it(subject: Subject) -> None:
    """An empty text, and one longer than the model reads, must be embedded or refused as the caller's fault."""
    for text in ("", " ", "\x00", LONG):
        reply = await subject.serves_or_refuses(EmbeddingRequest([text]))
        expect(reply is None or len(reply.embeddings) == 1, f"{text[:20]!r} has no vector")


@EMBEDDING("8.3.6")
async def vectors_are_of_length_one(subject: Subject) -> None:
    """Vectors should have a length of 1."""
    for vector in await _vectors(subject, [*PASSAGES]):
        length = math.sqrt(sum(number * number for number in vector))
        expect(abs(length - 1) < 1e-3, f"a length of {length:.4f}")


@EMBEDDING("8.3.7")
async def different_texts_differ(subject: Subject) -> None:
    """Texts that say different things should have different vectors, and like texts nearer ones."""
    question, like, unlike = await _vectors(
        subject, [QUESTIONS[0], "When was the bridge finished?", PASSAGES[2]]
    )
    near, far = cosine(question, like), cosine(question, unlike)
    expect(near > far, f"cosine {near:.3f} to the like text, {far:.3f} to the other")


@EMBEDDING("8.3.8")
async def tokens_are_counted(subject: Subject) -> None:
    """The reply should have `usage` with the tokens that were read."""
    reply = await subject.ask(EmbeddingRequest([*PASSAGES]))
    expect(reply.usage is not None and reply.usage.prompt_tokens > 0, f"usage {reply.usage}")


FAMILY: Final = Family(
    CONTRACT,
    EMBEDDING,
    samples=lambda: [EmbeddingRequest([question, *PASSAGES[:2]]) for question in QUESTIONS],
)

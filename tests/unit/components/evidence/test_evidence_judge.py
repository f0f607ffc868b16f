"""The judge: what is made of a base model and of what was learned, and which sentences and scores its verdicts change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ragkit import BagEmbedder, SmallHost, passage
from weft.components.evidence.judge import LEARNED, MAX_TOKENS, Judge, Verdict, Window
from weft.components.evidence.reader import ExtractiveReader
from weft.components.evidence.windows import MAX_WORDS, pieces
from weft.contracts.evidence import EvidenceRequest
from weft.errors import ModelError, ModelUnavailableError
from weft.host import ModelFiles
from weft.types import Document, Evidence

ort = pytest.importorskip("onnxruntime")

HIDDEN, LAYERS, WORDS = 64, 2, 1100
VOCABULARY = {"[UNK]": 0, "[CLS]": 101, "[SEP]": 102, ";": 1025} | {
    word: 200 + index
    for index, word in enumerate(
        ("when", "did", "the", "ferry", "sail", "it", "sailed", "at", "noon", "on", "oslo", "boats")
    )
}


def matrix(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.normal(0, 0.2, shape).astype(np.float32)


def base(folder: Path) -> ModelFiles:
    """A base model as Weft's cache has it, with two layers and made-up weights."""
    import json

    import safetensors.numpy
    import tokenizers

    from weft.models import minilm

    random = np.random.default_rng(3)
    weights = {
        "embeddings.word_embeddings.weight": matrix(random, WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": matrix(random, MAX_TOKENS, HIDDEN),
        "embeddings.token_type_embeddings.weight": matrix(random, 2, HIDDEN),
    }
    linear = {f"attention.self.{name}": (HIDDEN, HIDDEN) for name in ("query", "key", "value")} | {
        "attention.output.dense": (HIDDEN, HIDDEN),
        "intermediate.dense": (HIDDEN * 2, HIDDEN),
        "output.dense": (HIDDEN, HIDDEN * 2),
    }
    norms = [
        "embeddings.LayerNorm",
        *(f"encoder.layer.{n}.{part}output.LayerNorm" for n in range(LAYERS) for part in ("attention.", "")),
    ]
    for layer in range(LAYERS):
        for name, shape in linear.items():
            weights[f"encoder.layer.{layer}.{name}.weight"] = matrix(random, *shape)
            weights[f"encoder.layer.{layer}.{name}.bias"] = matrix(random, shape[0])
    for name in norms:
        weights[f"{name}.weight"] = 1 + matrix(random, HIDDEN)
        weights[f"{name}.bias"] = matrix(random, HIDDEN)
    settings = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_attention_heads": HIDDEN // 32,
        "num_hidden_layers": LAYERS,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    minilm.convert(folder / "model.safetensors", folder / "config.json", folder / "model.onnx")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {"onnx": folder / "model.onnx", "tokenizer": folder / "tokenizer.json"}
    return ModelFiles("base", files, digest="")


def learned(folder: Path, **changed: np.ndarray) -> Path:
    """Changes to the second layer, and heads."""
    random = np.random.default_rng(4)
    numbers = {
        "kinds": matrix(random, 2, HIDDEN),
        "same": matrix(random, 2, HIDDEN),
        "answer.weight": matrix(random, 2, HIDDEN),
        "answer.bias": np.zeros(2, np.float32),
        "answers.weight": matrix(random, 1, HIDDEN),
        "answers.bias": np.zeros(1, np.float32),
        "encoder.layer.1.intermediate.dense.down": matrix(random, 4, HIDDEN),
        "encoder.layer.1.intermediate.dense.up": matrix(random, HIDDEN * 2, 4),
        "encoder.layer.1.intermediate.dense.shift": matrix(random, HIDDEN * 2),
    }
    path = folder / "learned.npz"
    np.savez(path, **(numbers | changed))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFiles, Path]:
    """The base, and its folder."""
    folder = tmp_path_factory.mktemp("base")
    return base(folder), folder


QUESTION = "When did the ferry sail?"
TEXT = "The ferry sailed at noon. Boats at Oslo."


def test_a_verdict_marks_words_of_the_text(model: tuple[ModelFiles, Path]) -> None:
    """The marked answer begins and ends at words of the window, and the same question gives the same verdict again."""
    files, folder = model
    judge = Judge.load(files, learned(folder))
    first, other = judge.read(QUESTION, [Window("Oslo", TEXT), Window("", TEXT)])
    begins = [0, *(index + 1 for index, character in enumerate(TEXT) if character == " ")]
    assert first.start in {*begins, TEXT.index("."), len(TEXT) - 1}
    assert first.start < first.end <= len(TEXT)
    assert judge.read(QUESTION, [Window("Oslo", TEXT)]) == [first]
    assert other.answers != first.answers  # what stands above counts


def test_what_was_learned_changes_the_verdict(model: tuple[ModelFiles, Path]) -> None:
    """Changes to a layer, which words the two texts share, and the heads all take part."""
    files, folder = model
    before = Judge.load(files, learned(folder)).read(QUESTION, [Window("", TEXT)])[0]
    for name, shape in (
        ("encoder.layer.1.intermediate.dense.up", (HIDDEN * 2, 4)),
        ("same", (2, HIDDEN)),
        ("kinds", (2, HIDDEN)),
        ("answers.weight", (1, HIDDEN)),
    ):
        changed = learned(folder, **{name: np.zeros(shape, np.float32)})
        after = Judge.load(files, changed).read(QUESTION, [Window("", TEXT)])[0]
        assert abs(after.answers - before.answers) > 1e-3, name


def test_a_text_that_is_too_long_is_cut_and_an_empty_one_has_no_answer(
    model: tuple[ModelFiles, Path],
) -> None:
    """Neither is an error."""
    files, folder = model
    judge = Judge.load(files, learned(folder))
    long, empty = judge.read(QUESTION, [Window("oslo " * 99, "ferry " * 999), Window("", "")])
    assert long.end <= MAX_TOKENS * len("ferry ")
    assert (empty.start, empty.end) == (0, 0)
    assert empty.marked < -10


def test_files_of_another_kind_of_model_are_refused(model: tuple[ModelFiles, Path]) -> None:
    """The error names the base model."""
    with pytest.raises(ModelError, match="all-minilm-l6-v2"):
        Judge.load(ModelFiles("some.gguf", {"gguf": Path("some.gguf")}, digest=""), learned(model[1]))


def test_what_ships_is_whole_and_small() -> None:
    """The numbers of the four upper layers and of the heads, in at most 2 MB."""
    assert LEARNED.stat().st_size < 2_000_000
    with np.load(LEARNED) as numbers:
        assert {name.split(".")[2] for name in numbers.files if name.startswith("encoder")} == {*"2345"}
        assert all(np.isfinite(numbers[name]).all() for name in numbers.files)
        assert numbers["answer.weight"].shape == (2, 384)


class Scripted:
    """A judge that is sure of the windows that have certain words, and marks them."""

    def __init__(self, words: str, *, sure: float = 6.0) -> None:
        self.words, self.sure, self.windows = words, sure, list[Window]()

    def read(self, question: str, windows: Sequence[Window]) -> list[Verdict]:
        self.windows += windows
        return [
            Verdict(self.sure, self.sure, at, at + len(self.words))
            if (at := window.text.find(self.words)) >= 0
            else Verdict(-self.sure, -self.sure, 0, 1)
            for window in windows
        ]


async def read(judge: Scripted, documents: list[Document], query: str, **config: int) -> Evidence:
    reader, host = ExtractiveReader(BagEmbedder(), **config), SmallHost(Path())
    await reader.start(host)
    reader._judge = judge
    try:
        return (await reader.invoke(EvidenceRequest(query, documents))).evidence
    finally:
        host.close()


async def test_the_sentence_that_the_judge_marks_is_quoted_first() -> None:
    """Where a sentence repeats the question and the next one answers it, the answer leads."""
    text = "Visit the harbour of Lisbon with us.\n\nOn Mondays nobody is let in."
    query = "When is the harbour of Lisbon closed?"
    plain = await read(Scripted("nothing"), [passage(text)], query, max_quotes=1)
    assert plain.quotes[0].text == "Visit the harbour of Lisbon with us."
    judged = await read(Scripted("Mondays"), [passage(text)], query, max_quotes=1)
    assert judged.quotes[0].text == "On Mondays nobody is let in."


async def test_the_judge_decides_where_the_fit_does_not() -> None:
    """The same quotes are an answer or none; the score stays a share, and the threshold the same."""
    document, query = (
        passage("The harbour of Lisbon is old. Fish is sold."),
        "Who built the harbour of Lisbon?",
    )
    yes, no = [await read(Scripted("harbour", sure=sure), [document], query) for sure in (6.0, -6.0)]
    assert (yes.answerable, no.answerable) == (True, False)
    assert 0 <= no.score < 0.4 < yes.score <= 1


async def test_what_was_not_compared_may_be_marked() -> None:
    """Of a long listing few lines are compared; the judge reads what stands around those."""
    rows = [f"- Ferry number {n} sails at dawn." for n in range(20)]
    rows[8:8] = ["- Ask the harbour master."]
    evidence = await read(
        Scripted("harbour master"), [passage("\n".join(rows))], "When does ferry 7 sail?", compare=4
    )
    assert "harbour master" in "\n".join(quote.text for quote in evidence.quotes)


async def test_a_piece_has_what_stands_around_and_above_and_no_more_than_there_is_room_for() -> None:
    """Whole sentences; a row of a table comes with the names of its columns, and its title stands above."""
    documents = [
        passage(" ".join(f"Sentence number {n} is about the sea." for n in range(40))),
        passage(
            "Port | Opened\n" + "\n".join(f"Port {n} | {1800 + n}" for n in range(60)), "2", title="Ports"
        ),
    ]
    judge = Scripted("nothing")
    await read(judge, documents, "When was Port 41 opened? sentence number 20 sea", max_quotes=2)
    assert len(judge.windows) == 2
    for window in judge.windows:
        assert len(window.text.split()) <= MAX_WORDS + 3  # the header
    table = next(window for window in judge.windows if "|" in window.text)
    assert table.text.startswith("Port | Opened\n")
    assert "Port 41 | 1841" in table.text
    assert table.above == "Ports"


def test_no_piece_is_judged_twice() -> None:
    """Neither the same sentence's nor that of a passage that overlaps."""
    from weft.components.evidence.fit import candidates_of

    documents = [passage("One sentence. Another one."), passage("One sentence. Another one.", "2")]
    best = [candidate for index, d in enumerate(documents) for candidate in candidates_of(index, d, 9)]
    assert len(pieces(documents, best, 4)) == 1


class _NoModels:
    async def files(self, reference: str, *, kind: str) -> ModelFiles:
        raise ModelUnavailableError(f"'{reference}' is not here")


async def test_without_the_base_model_the_reader_decides_by_fit_and_says_so(tmp_path: Path) -> None:
    """An installation with another embedder and no network works on."""
    host, said = SmallHost(tmp_path), []
    host.models = _NoModels()
    host.log = lambda message, **fields: said.append((message, fields))
    reader = ExtractiveReader(BagEmbedder(), judge=True)
    await reader.start(host)
    evidence = (await reader.invoke(EvidenceRequest("Is fish sold?", [passage("Fish is sold.")]))).evidence
    assert evidence.answerable
    assert "by fit alone" in said[0][0]
    host.close()

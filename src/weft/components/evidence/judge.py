"""A small model that reads question and passage together: whether the one answers the other, and with which words.

What it knows of language is all-MiniLM-L6-v2's, which the embedder has on this machine anyway; what was learned for
this (``benchmarks/quality/train.py``) is 0.46 million numbers that ship with the package: low-rank changes to the four upper
layers, and a head that marks the answer's first and last token. Both are put together when the reader starts, in int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from weft.encoder import Encoder
from weft.errors import MissingExtraError, ModelError
from weft.host import ModelFiles

if TYPE_CHECKING:
    import numpy as np

LEARNED: Final = Path(__file__).with_name("judge.npz")
BASE: Final = "all-minilm-l6-v2"

MAX_QUESTION: Final = 40
MAX_ABOVE: Final = 24
MAX_TOKENS: Final = 192
"""Of question, what stands above, and text together, as in training."""

MAX_ANSWER: Final = 25
"""Tokens of an answer."""

BEGIN, SEPARATOR, SEMICOLON = 101, 102, 1025
"""Tokens of BERT's vocabulary."""

SCALE: Final = 2.0
"""What the low-rank changes are multiplied with, as in training."""

NOTHING: Final = -20.0
"""What an answer in no words at all is marked with: less than any other."""

TOKEN_TYPES: Final = "embeddings.token_type_embeddings.weight"  # noqa: S105 - a tensor's name
LAYER: Final = "encoder.layer."
LINEAR: Final = ("dense", "query", "key", "value")

HEAD_SIZE: Final = 32
"""Numbers of an attention head in MiniLM; how many heads and layers there are is read from the weights."""


class Window(NamedTuple):
    """A piece of a passage to judge.

    Attributes:
        above: The title and headings that it stands under.
        text: The piece.
    """

    above: str
    text: str


class Verdict(NamedTuple):
    """What was made of a window.

    Attributes:
        answers: How sure it is that the window answers the question, as a log-odds.
        marked: How much better the best answer fits than none, as a log-odds.
        start, end: Where that answer is in the window's text; equal if there is none in it.
    """

    answers: float
    marked: float
    start: int
    end: int


class Judge:
    """The model, loaded. Safe to use from several threads."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self._session, self._tokenizer = session, tokenizer

    @classmethod
    def load(cls, files: ModelFiles, learned: Path = LEARNED) -> Judge:
        """Put the base model and what was learned together. Takes about a second.

        Raises:
            MissingExtraError: onnx, onnxruntime, numpy or tokenizers is not installed.
            ModelError: The files are not those of the base model.
        """
        try:
            import numpy as np
            import onnx
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise MissingExtraError(
                "evidence-reader", package=error.name or "onnxruntime", extra="local"
            ) from error
        if not {"onnx", "tokenizer"} <= {*files.files}:
            raise ModelError(f"evidence-reader: '{files.name}' is not {BASE}, which its judge is built on")
        with np.load(learned) as numbers:
            changes = {name: numbers[name].astype(np.float32) for name in numbers.files}
        weights = _Merged(onnx.load(str(files.files["onnx"])).graph.initializer, changes)
        graph = _Graph(weights, changes).build().SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_file(str(files.files["tokenizer"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(session, tokenizer)

    def read(self, question: str, windows: Sequence[Window]) -> list[Verdict]:
        """A verdict on each window."""
        asked = self._tokens(question).ids[:MAX_QUESTION]
        return [self._judge(asked, window) for window in windows]

    def _tokens(self, text: str) -> Any:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _judge(self, asked: list[int], window: Window) -> Verdict:
        import numpy as np

        above = self._tokens(window.above).ids[:MAX_ABOVE] if window.above else []
        first = [BEGIN, *asked, SEPARATOR]
        begin = len(first) + (len(above) + 1 if above else 0)
        said = self._tokens(window.text)
        own = said.ids[: MAX_TOKENS - begin - 1]
        second = [*above, SEMICOLON, *own, SEPARATOR] if above else [*own, SEPARATOR]
        ids = [*first, *second]
        kinds = [0] * len(first) + [1] * len(second)
        here, there = {*asked}, {*above, *own}
        same = [int(token in (here if kind else there)) for token, kind in zip(ids, kinds, strict=True)]
        for mark in (0, len(first) - 1, len(ids) - 1):
            same[mark] = 0
        fed = {"input_ids": ids, "attention_mask": [1] * len(ids), "kinds": kinds, "same": same}
        answer, answers = self._session.run(None, {k: np.array([v], np.int64) for k, v in fed.items()})
        starts, ends = answer[0, :, 0], answer[0, :, 1]
        inside = slice(begin, begin + len(own))
        fits = starts[inside, None] + ends[None, inside]
        fits[~(np.tri(len(own), k=MAX_ANSWER - 1, dtype=bool) & np.tri(len(own), dtype=bool).T)] = -np.inf
        if not fits.size:
            return Verdict(float(answers[0]), NOTHING, 0, 0)
        at, to = (int(index) for index in np.unravel_index(int(fits.argmax()), fits.shape))
        marked = float(fits[at, to] - starts[0] - ends[0])
        return Verdict(float(answers[0]), marked, said.offsets[at][0], said.offsets[to][1])


class _Merged:
    """The base model's weights with what was learned added, as the encoder asks for them."""

    def __init__(self, initializers: Any, changes: dict[str, np.ndarray]) -> None:
        self._base, self._changes = {tensor.name: tensor for tensor in initializers}, changes

    def keys(self) -> list[str]:
        """The names that an encoder knows."""
        return [name if name != "token_type" else TOKEN_TYPES for name in self._base]

    def get_tensor(self, name: str) -> np.ndarray:
        """A weight, linear ones as ``[out, in]``."""
        from onnx import numpy_helper

        found: np.ndarray = numpy_helper.to_array(self._base["token_type" if name == TOKEN_TYPES else name])
        if name == TOKEN_TYPES:
            return found[None]
        if name in self._changes:  # a normalisation's
            return self._changes[name]
        layer, _, part = name.rpartition(".")
        if part == "weight" and layer.endswith(LINEAR):
            found = found.T
            if f"{layer}.up" in self._changes:
                found = found + SCALE * self._changes[f"{layer}.up"] @ self._changes[f"{layer}.down"]
        elif f"{layer}.shift" in self._changes:
            found = found + self._changes[f"{layer}.shift"]
        return found


class _Graph(Encoder):
    """The encoder over a question and a text, with marks before its first learned layer and a head that marks the answer."""

    inputs = ("input_ids", "attention_mask", "kinds", "same")

    def __init__(self, weights: _Merged, changes: dict[str, np.ndarray]) -> None:
        layers = [int(name.split(".")[2]) for name in weights.keys() if name.startswith(LAYER)]  # noqa: SIM118 - no dict
        hidden = changes["same"].shape[1]
        settings = {"num_hidden_layers": max(layers, default=-1) + 1, "hidden_size": hidden}
        settings["num_attention_heads"] = hidden // HEAD_SIZE
        super().__init__(weights, settings, quantise=True)
        self._weights, self._changes = weights, changes
        self._first = min(int(name.split(".")[2]) for name in changes if name.startswith(LAYER))

    def words(self) -> str:
        """In half precision: a fifth of the table's rows are ever read."""
        import numpy as np
        import onnx

        table = self._weights.get_tensor("embeddings.word_embeddings.weight").astype(np.float16)
        return self.op(
            "Cast", self.op("Gather", self.constant(table, "words"), "input_ids"), to=onnx.TensorProto.FLOAT
        )

    def before_layer(self, layer: int, x: str) -> str:
        """Which text a token is of, and whether the other one has it too."""
        if layer != self._first:
            return x
        for name in ("kinds", "same"):
            x = self.op(
                "Add", x, self.op("Gather", self.constant(self._changes[name], f"{name}.table"), name)
            )
        return x

    def finish(self, x: str, mask: str) -> None:
        """For each token how well an answer begins and ends there; for the whole, whether it answers."""
        import numpy as np

        changes = self._changes
        ends = self.op("MatMul", x, self.constant(changes["answer.weight"].T, "answer.weight"))
        self.op("Add", ends, self.constant(changes["answer.bias"], "answer.bias"))
        self._name_output("answer", ["batch", "sequence", 2])
        first = self.op("Gather", x, self.constant(np.int64(0), "first"), axis=1)
        sure = self.op("MatMul", first, self.constant(changes["answers.weight"][0], "answers.weight"))
        self.op("Add", sure, self.constant(changes["answers.bias"], "answers.bias"))
        self._name_output("answers", ["batch"])

    def _name_output(self, name: str, shape: list[str | int]) -> None:
        self._graph.node[-1].output[0] = name
        self.output(name, shape)

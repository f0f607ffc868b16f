"""The conversion of a BERT sentence encoder to ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from weft.encoder import OUTPUT
from weft.errors import ModelError
from weft.models import minilm

ort = pytest.importorskip("onnxruntime")

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
}


def _weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0, 0.5, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": matrix(20, 8),
        "embeddings.position_embeddings.weight": matrix(12, 8),
        "embeddings.token_type_embeddings.weight": matrix(2, 8),
    }
    linear = {"embeddings.LayerNorm": None}
    for layer in range(2):
        prefix = f"encoder.layer.{layer}."
        linear |= {f"{prefix}attention.self.{name}": (8, 8) for name in ("query", "key", "value")} | {
            f"{prefix}attention.output.dense": (8, 8),
            f"{prefix}attention.output.LayerNorm": None,
            f"{prefix}intermediate.dense": (16, 8),
            f"{prefix}output.dense": (8, 16),
            f"{prefix}output.LayerNorm": None,
        }
    for name, shape in linear.items():
        found[f"{name}.weight"] = matrix(*shape) if shape else 1 + matrix(8) / 5
        found[f"{name}.bias"] = matrix(shape[0] if shape else 8)
    return found


def _reference(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """BERT and mean pooling for one text, written from the paper with loops over heads."""
    from math import erf

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids]
    x = (
        x
        + w["embeddings.position_embeddings.weight"][: len(ids)]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(2):
        prefix = f"encoder.layer.{layer}."
        q, k, v = (linear(x, f"{prefix}attention.self.{name}") for name in ("query", "key", "value"))
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            scores = q[:, head] @ k[:, head].T / 2.0
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, head])
        attended = linear(np.concatenate(heads, -1), f"{prefix}attention.output.dense")
        x = norm(x + attended, f"{prefix}attention.output.LayerNorm")
        inner = linear(x, f"{prefix}intermediate.dense")
        gelu = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
        x = norm(x + linear(gelu, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Callable[[list[list[int]]], np.ndarray]]:
    """Converts the small encoder; gives a function from token ids to vectors."""
    from safetensors.numpy import save_file

    def made(*, prefix: str = "", quantise: bool = False) -> Callable[[list[list[int]]], np.ndarray]:
        save_file({prefix + name: value for name, value in _weights().items()}, tmp_path / "m.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
        minilm.convert(
            tmp_path / "m.safetensors", tmp_path / "config.json", tmp_path / "m.onnx", quantise=quantise
        )
        session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])

        def run(texts: list[list[int]]) -> np.ndarray:
            longest = max(map(len, texts))
            ids = np.array([ids + [0] * (longest - len(ids)) for ids in texts], np.int64)
            mask = np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in texts], np.int64)
            return session.run([OUTPUT], {"input_ids": ids, "attention_mask": mask})[0]

        return run

    return made


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_graph_computes_what_bert_is_defined_to(convert: Callable[..., Callable], prefix: str) -> None:
    """Equal to an independent implementation, alone and padded in a batch."""
    texts = [[1, 5, 9, 2], [1, 7, 2], [1, 3, 3, 4, 5, 6, 2]]
    expected = np.array([_reference(_weights(), ids) for ids in texts])
    run = convert(prefix=prefix)
    assert np.abs(run(texts) - expected).max() < 1e-5
    assert np.abs(run(texts[:1])[0] - expected[0]).max() < 1e-5


def test_quantised_is_near(convert: Callable[..., Callable]) -> None:
    """int8 vectors point the same way."""
    texts = [[1, 5, 9, 2], [1, 3, 3, 4, 5, 6, 2]]
    expected = np.array([_reference(_weights(), ids) for ids in texts])
    assert (convert(quantise=True)(texts) * expected).sum(-1).min() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"num_hidden_layers": 3}, "have no tensor 'encoder.layer.2"),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """What would come out wrong is not converted."""
    from safetensors.numpy import save_file

    save_file(_weights(), tmp_path / "m.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(ModelError, match=message):
        minilm.convert(tmp_path / "m.safetensors", tmp_path / "config.json", tmp_path / "m.onnx")

"""BERT sentence encoders of the MiniLM family: safetensors to one ONNX graph, without torch.

The graph does everything from token ids to unit vectors, so that whoever runs it only tokenizes::

    input_ids, attention_mask  int64 [batch, sequence]   ->   embedding  float32 [batch, hidden]

Padding is masked in attention and left out of the mean. With ``quantise`` the weights of the linear layers are
int8, one scale for each output channel, and their inputs are quantised as they come (what ONNX calls dynamic
quantisation); embeddings, normalisation, softmax and pooling stay float32.

numpy, onnx and safetensors are imported when a conversion runs: nothing else needs them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from weft.encoder import Encoder
from weft.errors import MissingExtraError, ModelError

STEPS = 7
"""Calls of ``on_step``: one for each layer of a MiniLM-L6, one before writing."""


def convert(
    weights: Path,
    config: Path,
    output: Path,
    *,
    quantise: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Write the ONNX form of a BERT sentence encoder to ``output``.

    Args:
        weights: ``model.safetensors``, with or without the ``bert.`` prefix.
        config: The model's ``config.json``; sizes are read from it.
        output: Where to write; its folder exists.
        quantise: Linear layers in int8.
        on_step: Called :data:`STEPS` times for a six-layer model; what it raises stops the conversion.

    Raises:
        MissingExtraError: numpy, onnx or safetensors is not installed.
        ModelError: This is not a BERT encoder with GELU and absolute positions.
    """
    try:
        import numpy  # noqa: ICN001, F401, PLC0415 - needed once, when a model is prepared
        import onnx  # noqa: F401, PLC0415 - likewise
        import safetensors  # noqa: PLC0415 - likewise
    except ImportError as error:
        package = error.name or "onnx"
        raise MissingExtraError("all-minilm-l6-v2", package=package, extra="local") from error
    settings = json.loads(config.read_text(encoding="utf-8"))
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if settings.get(key, value) != value:
            raise ModelError(
                f"{config.name} says {key} is {settings[key]!r}: only {value!r} can be converted"
            )
    # One tensor at a time, straight into the message that is written: twice the weights is the most that is in memory.
    with safetensors.safe_open(weights, framework="numpy") as tensors:
        model = Encoder(tensors, settings, quantise=quantise).build(on_step)
    on_step()
    output.write_bytes(model.SerializeToString(deterministic=True))

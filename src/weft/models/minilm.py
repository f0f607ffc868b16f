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
from typing import TYPE_CHECKING, Any

from weft.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import numpy as np

OPSET = 20
"""The first opset with ``Gelu`` as an operator of its own, which onnxruntime runs fused."""

IR_VERSION = 9
"""The oldest format that may hold opset 20, so that older onnxruntimes read it too."""

MASKED = -1e4
"""Added to the attention scores of padding: exp() of it is 0, and it does not overflow in half precision."""


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
        import onnx  # noqa: PLC0415 - needed once, when a model is prepared
        from safetensors.numpy import load_file  # noqa: PLC0415 - likewise
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
    tensors = {name.removeprefix("bert."): tensor for name, tensor in load_file(weights).items()}
    try:
        graph = _Encoder(tensors, settings, quantise=quantise).build(on_step)
    except KeyError as error:
        raise ModelError(f"{weights.name} has no tensor {error}: it is not a BERT encoder") from error
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="weft"
    )
    model.ir_version = IR_VERSION
    on_step()
    output.write_bytes(model.SerializeToString(deterministic=True))


class _Encoder:
    """Collects the nodes and constants of one graph."""

    def __init__(self, tensors: dict[str, Any], settings: dict[str, Any], *, quantise: bool) -> None:
        self._tensors = tensors
        self._layers: int = settings["num_hidden_layers"]
        self._hidden: int = settings["hidden_size"]
        self._heads: int = settings["num_attention_heads"]
        self._epsilon: float = settings.get("layer_norm_eps", 1e-12)
        self._quantise = quantise
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self, on_step: Callable[[], None]) -> Any:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared
        from onnx import TensorProto, helper  # noqa: PLC0415 - likewise

        head_size = self._hidden // self._heads
        self._split = self._constant(np.array([0, 0, self._heads, head_size], np.int64), "split_heads")
        self._join = self._constant(np.array([0, 0, self._hidden], np.int64), "join_heads")
        self._scale = self._constant(np.float32(head_size**-0.5), "attention_scale")
        if self._quantise:
            self._zero = self._constant(np.int8(0), "weight_zero_point")
        mask = self._op("Cast", "attention_mask", to=TensorProto.FLOAT)
        hidden = self._embed()
        bias = self._attention_bias(mask)
        for layer in range(self._layers):
            on_step()
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        self._pool(hidden, mask)
        int_input = [
            helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"]) for n in INPUTS
        ]
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", self._hidden])
        return helper.make_graph(self._nodes, "sentence_encoder", int_input, [output], self._constants)

    def _constant(self, value: Any, name: str) -> str:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared
        from onnx import numpy_helper  # noqa: PLC0415 - likewise

        self._constants.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        )
        return name

    def _tensor(self, name: str) -> np.ndarray:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared

        return np.asarray(self._tensors[name], dtype=np.float32)

    def _weight(self, name: str) -> str:
        return self._constant(self._tensor(name), name)

    def _op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; returns the name of its first output (the others end in ``.1``, ``.2``)."""
        from onnx import helper  # noqa: PLC0415 - needed once, when a model is prepared

        first = f"{kind}_{len(self._nodes)}"
        names = [first, *(f"{first}.{index}" for index in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=first, **attributes))
        return first

    def _linear(self, x: str, prefix: str) -> str:
        weight = self._tensor(f"{prefix}.weight").T
        bias = self._weight(f"{prefix}.bias")
        if not self._quantise:
            return self._op("Add", self._op("MatMul", x, self._constant(weight, f"{prefix}.weight")), bias)
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared

        scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / 127
        rounded = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
        quantised = self._op("DynamicQuantizeLinear", x, outputs=3)
        product = self._op(
            "MatMulInteger",
            quantised,
            self._constant(rounded, f"{prefix}.weight.int8"),
            f"{quantised}.2",
            self._zero,
        )
        scales = self._op(
            "Mul", f"{quantised}.1", self._constant(scale.astype(np.float32), f"{prefix}.scale")
        )
        from onnx import TensorProto  # noqa: PLC0415 - needed once, when a model is prepared

        return self._op("Add", self._op("Mul", self._op("Cast", product, to=TensorProto.FLOAT), scales), bias)

    def _norm(self, x: str, prefix: str) -> str:
        weight, bias = self._weight(f"{prefix}.weight"), self._weight(f"{prefix}.bias")
        return self._op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self._epsilon)

    def _embed(self) -> str:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared

        zero = self._constant(np.array([0], np.int64), "zero")
        length = self._op("Shape", "input_ids", start=1, end=2)
        words = self._op("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        positions = self._weight("embeddings.position_embeddings.weight")
        x = self._op("Add", words, self._op("Slice", positions, zero, length, zero))
        # One text at a time: every token is of type 0.
        kind = self._constant(self._tensor("embeddings.token_type_embeddings.weight")[0], "token_type")
        return self._norm(self._op("Add", x, kind), "embeddings.LayerNorm")

    def _attention_bias(self, mask: str) -> str:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared

        inverse = self._op("Sub", self._constant(np.float32(1), "one"), mask)
        bias = self._op("Mul", inverse, self._constant(np.float32(MASKED), "masked"))
        return self._op("Unsqueeze", bias, self._constant(np.array([1, 2], np.int64), "head_and_query_axes"))

    def _layer(self, x: str, bias: str, prefix: str) -> str:
        query, key, value = (
            self._op(
                "Transpose",
                self._op("Reshape", self._linear(x, f"{prefix}attention.self.{name}"), self._split),
                perm=[0, 2, 3, 1] if name == "key" else [0, 2, 1, 3],
            )
            for name in ("query", "key", "value")
        )
        scores = self._op("Mul", self._op("MatMul", query, key), self._scale)
        weights = self._op("Softmax", self._op("Add", scores, bias), axis=-1)
        mixed = self._op("Transpose", self._op("MatMul", weights, value), perm=[0, 2, 1, 3])
        attended = self._linear(self._op("Reshape", mixed, self._join), f"{prefix}attention.output.dense")
        x = self._norm(self._op("Add", attended, x), f"{prefix}attention.output.LayerNorm")
        inner = self._op("Gelu", self._linear(x, f"{prefix}intermediate.dense"))
        outer = self._linear(inner, f"{prefix}output.dense")
        return self._norm(self._op("Add", outer, x), f"{prefix}output.LayerNorm")

    def _pool(self, x: str, mask: str) -> None:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared
        from onnx import helper  # noqa: PLC0415 - likewise

        tokens = self._constant(np.array([1], np.int64), "token_axis")
        last = self._constant(np.array([2], np.int64), "last_axis")
        weighted = self._op("Mul", x, self._op("Unsqueeze", mask, last))
        total = self._op("ReduceSum", weighted, tokens, keepdims=0)
        count = self._op("ReduceSum", mask, tokens, keepdims=1)
        mean = self._op("Div", total, count)
        self._nodes.append(helper.make_node("LpNormalization", [mean], [OUTPUT], name=OUTPUT, axis=-1, p=2))


INPUTS = ("input_ids", "attention_mask")
"""The graph's inputs, both int64 [batch, sequence]."""

OUTPUT = "embedding"
"""The graph's output: unit vectors, float32 [batch, hidden]."""

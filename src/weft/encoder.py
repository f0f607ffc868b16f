"""The graph of a BERT encoder of the MiniLM family, as ONNX: what the model store converts to, and what readers build on.

The graph does everything from token ids to what :meth:`Encoder.finish` makes of the last layer, so that whoever runs it only
tokenizes. Padding is masked in attention and left out of the mean. With ``quantise`` the weights of the linear layers are int8, one
scale for each output channel, and their inputs are quantised as they come (what ONNX calls dynamic quantisation); embeddings,
normalisation, softmax and pooling stay float32. numpy and onnx are imported when a graph is built: nothing else needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from weft.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

OPSET = 20
"""The first opset with ``Gelu`` as an operator of its own, which onnxruntime runs fused."""

IR_VERSION = 9
"""The oldest format that may hold opset 20, so that older onnxruntimes read it too."""

MASKED = -1e4
"""Added to the attention scores of padding: exp() of it is 0, and it does not overflow in half precision."""

OUTPUT = "embedding"
"""The graph's output: unit vectors, float32 [batch, hidden]."""


class Encoder:
    """Collects the nodes and constants of one graph.

    What is made of the last layer's tokens is :meth:`finish`, what is added on the way :meth:`before_layer`: a model that
    shares the encoder and ends otherwise derives from this.

    Args:
        tensors: The weights, by ``keys()`` and ``get_tensor(name)``; linear ones as ``[out, in]``.
        settings: The model's ``config.json``.
        quantise: Linear layers in int8.
    """

    inputs: tuple[str, ...] = ("input_ids", "attention_mask")

    def __init__(self, tensors: Any, settings: dict[str, Any], *, quantise: bool) -> None:
        import numpy as np  # noqa: PLC0415 - needed once, when a model is prepared
        import onnx  # noqa: PLC0415 - likewise

        self._np, self._onnx = np, onnx
        self._tensors = tensors
        self._names = {name.removeprefix("bert."): name for name in tensors.keys()}  # noqa: SIM118 - a safetensors file is no dict
        self._layers: int = settings["num_hidden_layers"]
        self._hidden: int = settings["hidden_size"]
        self._heads: int = settings["num_attention_heads"]
        self._epsilon: float = settings.get("layer_norm_eps", 1e-12)
        self._quantise = quantise
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="weft")
        self._model.opset_import.add(domain="", version=OPSET)
        self._graph = self._model.graph
        self._graph.name = "sentence_encoder"

    def build(self, on_step: Callable[[], None] = lambda: None) -> Any:
        """The whole graph, as a ``ModelProto``."""
        head_size = self._hidden // self._heads
        self._split = self.constant(
            self._np.array([0, 0, self._heads, head_size], self._np.int64), "split_heads"
        )
        self._join = self.constant(self._np.array([0, 0, self._hidden], self._np.int64), "join_heads")
        self._scale = self.constant(self._np.float32(head_size**-0.5), "attention_scale")
        if self._quantise:
            self._zero = self.constant(self._np.int8(0), "weight_zero_point")
        mask = self.op("Cast", "attention_mask", to=self._onnx.TensorProto.FLOAT)
        hidden = self._embed()
        bias = self._attention_bias(mask)
        for layer in range(self._layers):
            on_step()
            hidden = self.before_layer(layer, hidden)
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}.")
        self.finish(hidden, mask)
        for name in self.inputs:
            self._declare(self._graph.input, name, self._onnx.TensorProto.INT64, ["batch", "sequence"])
        return self._model

    def before_layer(self, layer: int, x: str) -> str:
        """What goes into a layer: what came out of the one before."""
        return x

    def finish(self, x: str, mask: str) -> None:
        """The output: the mean of the tokens, as a unit vector."""
        self._pool(x, mask)
        self.output(OUTPUT, ["batch", self._hidden])

    def output(self, name: str, shape: list[str | int]) -> None:
        """Declare an output, float32."""
        self._declare(self._graph.output, name, self._onnx.TensorProto.FLOAT, shape)

    def words(self) -> str:
        """The embedding of each token."""
        return self.op("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")

    def _declare(self, where: Any, name: str, kind: int, shape: list[str | int]) -> None:
        where.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: Any, name: str) -> str:
        """Add a constant; returns its name."""
        array = self._np.asarray(value)
        tensor = self._graph.initializer.add()
        tensor.name = name
        tensor.data_type = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.dims.extend(array.shape)
        tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return name

    def _tensor(self, name: str) -> np.ndarray:

        if name not in self._names:
            raise ModelError(f"the weights have no tensor '{name}': this is not a BERT encoder")
        return self._np.asarray(self._tensors.get_tensor(self._names[name]), dtype=self._np.float32)

    def _weight(self, name: str) -> str:
        return self.constant(self._tensor(name), name)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; returns the name of its first output (the others end in ``.1``, ``.2``)."""
        first = f"{kind}_{len(self._graph.node)}"
        names = [first, *(f"{first}.{index}" for index in range(1, outputs))]
        self._graph.node.append(
            self._onnx.helper.make_node(kind, list(inputs), names, name=first, **attributes)
        )
        return first

    def _linear(self, x: str, prefix: str) -> str:
        weight = self._tensor(f"{prefix}.weight").T
        bias = self._weight(f"{prefix}.bias")
        if not self._quantise:
            return self.op("Add", self.op("MatMul", x, self.constant(weight, f"{prefix}.weight")), bias)

        scale = self._np.maximum(self._np.abs(weight).max(axis=0), 1e-12) / 127
        rounded = self._np.clip(self._np.rint(weight / scale), -127, 127).astype(self._np.int8)
        quantised = self.op("DynamicQuantizeLinear", x, outputs=3)
        product = self.op(
            "MatMulInteger",
            quantised,
            self.constant(rounded, f"{prefix}.weight.int8"),
            f"{quantised}.2",
            self._zero,
        )
        scales = self.op(
            "Mul", f"{quantised}.1", self.constant(scale.astype(self._np.float32), f"{prefix}.scale")
        )

        return self.op(
            "Add", self.op("Mul", self.op("Cast", product, to=self._onnx.TensorProto.FLOAT), scales), bias
        )

    def _norm(self, x: str, prefix: str) -> str:
        weight, bias = self._weight(f"{prefix}.weight"), self._weight(f"{prefix}.bias")
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self._epsilon)

    def _embed(self) -> str:

        zero = self.constant(self._np.array([0], self._np.int64), "zero")
        length = self.op("Shape", "input_ids", start=1, end=2)
        words = self.words()
        positions = self._weight("embeddings.position_embeddings.weight")
        x = self.op("Add", words, self.op("Slice", positions, zero, length, zero))
        # One text at a time: every token is of type 0.
        kind = self.constant(self._tensor("embeddings.token_type_embeddings.weight")[0], "token_type")
        return self._norm(self.op("Add", x, kind), "embeddings.LayerNorm")

    def _attention_bias(self, mask: str) -> str:

        inverse = self.op("Sub", self.constant(self._np.float32(1), "one"), mask)
        bias = self.op("Mul", inverse, self.constant(self._np.float32(MASKED), "masked"))
        return self.op(
            "Unsqueeze", bias, self.constant(self._np.array([1, 2], self._np.int64), "head_and_query_axes")
        )

    def _layer(self, x: str, bias: str, prefix: str) -> str:
        query, key, value = (
            self.op(
                "Transpose",
                self.op("Reshape", self._linear(x, f"{prefix}attention.self.{name}"), self._split),
                perm=[0, 2, 3, 1] if name == "key" else [0, 2, 1, 3],
            )
            for name in ("query", "key", "value")
        )
        scores = self.op("Mul", self.op("MatMul", query, key), self._scale)
        weights = self.op("Softmax", self.op("Add", scores, bias), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        attended = self._linear(self.op("Reshape", mixed, self._join), f"{prefix}attention.output.dense")
        x = self._norm(self.op("Add", attended, x), f"{prefix}attention.output.LayerNorm")
        inner = self.op("Gelu", self._linear(x, f"{prefix}intermediate.dense"))
        outer = self._linear(inner, f"{prefix}output.dense")
        return self._norm(self.op("Add", outer, x), f"{prefix}output.LayerNorm")

    def _pool(self, x: str, mask: str) -> None:

        tokens = self.constant(self._np.array([1], self._np.int64), "token_axis")
        last = self.constant(self._np.array([2], self._np.int64), "last_axis")
        weighted = self.op("Mul", x, self.op("Unsqueeze", mask, last))
        total = self.op("ReduceSum", weighted, tokens, keepdims=0)
        count = self.op("ReduceSum", mask, tokens, keepdims=1)
        mean = self.op("Div", total, count)
        self._graph.node.append(
            self._onnx.helper.make_node("LpNormalization", [mean], [OUTPUT], name=OUTPUT, axis=-1, p=2)
        )

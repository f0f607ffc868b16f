"""The judge as it is trained: all-MiniLM-L6-v2 unchanged, low-rank changes to its upper layers, and two heads.

``weft.components.evidence.judge`` runs the same without torch; the names in :func:`learned` are what it reads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

HIDDEN, HEADS, LAYERS = 384, 12, 6
FROZEN = 2
"""Layers that stay as they are: a third of the work of going back is saved."""

RANK, SCALE = 16, 2.0
DROPPED = 0.05
MASKED = -1e4
MAX_ANSWER = 25
PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "mixed": "attention.output.dense", "norm_1": "attention.output.LayerNorm",
    "inner": "intermediate.dense", "outer": "output.dense", "norm_2": "output.LayerNorm",
}  # fmt: skip


class Linear(nn.Module):
    """A linear layer that is changed by a matrix of low rank and a shift."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, rank: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight).bfloat16(), persistent=False)
        self.register_buffer("bias", torch.tensor(bias), persistent=False)
        self.rank = rank
        if rank:
            self.down = nn.Parameter(torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1]))
            self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
            self.shift = nn.Parameter(torch.zeros(weight.shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        if not self.rank:
            return functional.linear(x, self.weight, self.bias.to(x.dtype))
        plain = functional.linear(x, self.weight, (self.bias + self.shift).to(x.dtype))
        low = functional.linear(x, self.down.to(x.dtype))
        return plain + functional.linear(low, self.up.to(x.dtype)) * SCALE


class Norm(nn.Module):
    """A normalisation."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, *, learns: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight), requires_grad=learns)
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=learns)

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (HIDDEN,), self.weight.to(x.dtype), self.bias.to(x.dtype), 1e-12)


class Reading(nn.Module):
    """Question and text together in; where an answer begins and ends, and whether there is one, out."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        found = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(base)).graph.initializer
        }
        for name, of in (
            ("words", "embeddings.word_embeddings.weight"),
            ("places", "embeddings.position_embeddings.weight"),
            ("first_kind", "token_type"),
        ):
            self.register_buffer(name, torch.tensor(found[of]), persistent=False)
        self.norm = Norm(
            found["embeddings.LayerNorm.weight"], found["embeddings.LayerNorm.bias"], learns=False
        )
        self.kinds, self.same = (nn.Parameter(torch.zeros(2, HIDDEN)) for _ in range(2))
        self.layers = nn.ModuleList()
        for layer in range(LAYERS):
            learns = layer >= FROZEN
            parts: dict[str, nn.Module] = {}
            for name, path in PARTS.items():
                weight, bias = (found[f"encoder.layer.{layer}.{path}.{part}"] for part in ("weight", "bias"))
                parts[name] = (
                    Norm(weight, bias, learns=learns)
                    if "norm" in name
                    else Linear(np.ascontiguousarray(weight.T), bias, RANK if learns else 0)
                )
            self.layers.append(nn.ModuleDict(parts))
        self.answer, self.answers = nn.Linear(HIDDEN, 2), nn.Linear(HIDDEN, 1)
        self.drop = nn.Dropout(DROPPED)

    def forward(self, ids: Tensor, kinds: Tensor, mask: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
        """``[batch, tokens, 2]``, of which the first token stands for no answer, and ``[batch]``."""
        with torch.no_grad():
            x = self.norm(self.words[ids] + self.places[: ids.shape[1]] + self.first_kind).bfloat16()
        bias = ((mask == 0)[:, None, None, :] * MASKED).to(x.dtype)
        for number, layer in enumerate(self.layers):
            if number == FROZEN:
                x = x + (self.kinds[kinds] + self.same[same]).to(x.dtype)
            with torch.set_grad_enabled(number >= FROZEN and torch.is_grad_enabled()):
                x = self._layer(layer, x, bias, learns=number >= FROZEN)
        x = x.float()
        outside = (kinds == 0) | (mask == 0)
        outside[:, 0] = False
        return self.answer(x).masked_fill(outside[..., None], MASKED), self.answers(x[:, 0])[:, 0]

    def _layer(self, layer: Any, x: Tensor, bias: Tensor, *, learns: bool) -> Tensor:
        drop = self.drop if learns else nn.Identity()
        query, key, value = (
            layer[name](x).view(*x.shape[:2], HEADS, -1).transpose(1, 2) for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = layer["norm_1"](x + drop(layer["mixed"](mixed.transpose(1, 2).reshape(x.shape))))
        return layer["norm_2"](x + drop(layer["outer"](functional.gelu(layer["inner"](x)))))


def loss(answer: Tensor, answers: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """How wrong: begin and end of the answer (0: none), and whether there is one."""
    ends = functional.cross_entropy(answer[..., 0], start) + functional.cross_entropy(answer[..., 1], end)
    return ends / 2 + functional.binary_cross_entropy_with_logits(answers, (start > 0).float())


def marked(answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How much better the best answer is than none, and its first and last token."""
    starts, ends = answer[..., 0], answer[..., 1]
    size = starts.shape[1] - 1
    fits = starts[:, 1:, None] + ends[:, None, 1:]
    allowed = torch.ones(size, size).triu().tril(MAX_ANSWER - 1).bool()
    best = fits.masked_fill(~allowed, -torch.inf).flatten(1).max(1)
    none = starts[:, 0] + ends[:, 0]
    return best.values - none, best.indices // size + 1, best.indices % size + 1


def learned(net: Reading) -> dict[str, np.ndarray]:
    """What is shipped, in half precision."""
    found = {
        "kinds": net.kinds,
        "same": net.same,
        "answer.weight": net.answer.weight,
        "answer.bias": net.answer.bias,
        "answers.weight": net.answers.weight,
        "answers.bias": net.answers.bias,
    }
    for number, layer in enumerate(net.layers):
        for name, path in PARTS.items():
            for part, value in layer[name].named_parameters() if number >= FROZEN else ():
                found[f"encoder.layer.{number}.{path}.{part}"] = value
    return {name: value.detach().numpy().astype(np.float16) for name, value in found.items()}


def restore(net: Reading, numbers: dict[str, np.ndarray]) -> None:
    """Go on from what was learned before."""
    with torch.no_grad():
        for name in ("kinds", "same"):
            getattr(net, name).copy_(torch.tensor(numbers[name]))
        for head in ("answer", "answers"):
            for part, value in getattr(net, head).named_parameters():
                value.copy_(torch.tensor(numbers[f"{head}.{part}"]))
        for number, layer in enumerate(net.layers):
            for name, path in PARTS.items():
                for part, value in layer[name].named_parameters() if number >= FROZEN else ():
                    value.copy_(torch.tensor(numbers[f"encoder.layer.{number}.{path}.{part}"]))

"""The header of GGUF files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from weft.components.chat.gguf import ModelFacts, read_facts
from weft.errors import ModelError

TEMPLATE = "{% for message in messages %}…{% endfor %}"


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _tensor(name: str, *shape: int) -> bytes:
    sizes = b"".join(struct.pack("<Q", size) for size in shape)
    return _text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", 0, 0)


ENTRIES = [
    _entry("general.architecture", 8, _text("llama")),
    _entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 3) + _text("a") + _text("bc") + _text("")),
    _entry("tokenizer.ggml.scores", 9, struct.pack("<IQ3f", 6, 3, 1, 2, 3)),
    _entry("odd.nested", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ2H", 2, 2, 7, 8)),
    _entry("llama.rope.scale", 6, struct.pack("<f", float("nan"))),
    _entry("llama.flag", 7, b"\x01"),
    _entry("llama.context_length", 4, struct.pack("<I", 8192)),
    _entry("tokenizer.chat_template", 8, _text(TEMPLATE)),
]
TENSORS = [_tensor("embedding", 64, 100), _tensor("norm", 64)]


def _header(entries: list[bytes], tensors: list[bytes], *, version: int = 3) -> bytes:
    counts = struct.pack("<IQQ", version, len(tensors), len(entries))
    return b"GGUF" + counts + b"".join(entries) + b"".join(tensors)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_what_the_header_says(file: Path, version: int) -> None:
    """Weights are counted over all tensors; window and template are found among values of every kind."""
    file.write_bytes(_header(ENTRIES, TENSORS, version=version))
    assert read_facts(file) == ModelFacts(64 * 100 + 64, 8192, TEMPLATE)


def test_control_tokens_are_known_by_their_texts(file: Path) -> None:
    """By the types of the vocabulary's tokens: 2 is the unknown one, 3 are control tokens, the rest are text."""
    texts = ["<unk>", "a", "<|im_end|>", "<tool>"]
    tokens = struct.pack("<IQ", 8, 4) + b"".join(map(_text, texts))
    types = struct.pack("<IQ4i", 5, 4, 2, 1, 3, 4)
    entries = [_entry("tokenizer.ggml.tokens", 9, tokens), _entry("tokenizer.ggml.token_type", 9, types)]
    file.write_bytes(_header([*entries, ENTRIES[-1]], TENSORS))
    assert read_facts(file) == ModelFacts(6464, None, TEMPLATE, ("<unk>", "<|im_end|>"))


def test_what_it_does_not_say_is_not_known(file: Path) -> None:
    """A model without window and template has none."""
    file.write_bytes(_header([], TENSORS))
    assert read_facts(file) == ModelFacts(6464, None, None)


def test_the_real_model(gguf: Path) -> None:
    """SmolLM2-135M has 134.5 million weights and was trained for 8,192 tokens."""
    facts = read_facts(gguf)
    assert (facts.parameters, facts.trained_window) == (134_515_008, 8192)
    assert "<|im_start|>" in (facts.template or "")


def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(file: Path) -> None:
    """At every byte: an error that names the file, nothing else."""
    whole = _header(ENTRIES, TENSORS)
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="model.gguf is no readable GGUF model"):
            read_facts(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04" + bytes(40), "does not begin with 'GGUF'"),
        (_header([], [], version=1), "version 1 of the format"),
        (_header([_entry("a", 99, b"")], []), "value of unknown type 99"),
        (_header([_entry("a", 9, struct.pack("<IQ", 77, 1))], []), "list of unknown type 77"),
        (_header([_entry("a", 9, struct.pack("<IQ", 8, 2**63))], TENSORS), "readable"),
        (_header([_entry("a", 9, struct.pack("<IQ", 10, 2**64 - 1))], TENSORS), "readable"),
        (_header([struct.pack("<Q", 2**64 - 1) + b"x"], []), "cut short"),
        (_header([struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<IB", 0, 1)], []), "utf-8"),
    ],
    ids=["zip", "old", "value", "list", "long list", "longest list", "long text", "no text"],
)
def test_what_is_no_model_is_refused(file: Path, content: bytes, reason: str) -> None:
    """Whatever the bytes claim, it ends at once with an error for people."""
    file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        read_facts(file)


def test_a_missing_file_is_named(file: Path) -> None:
    """Its name is in the error."""
    with pytest.raises(ModelError, match="model.gguf cannot be read"):
        read_facts(file)

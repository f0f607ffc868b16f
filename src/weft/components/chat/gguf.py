"""What the header of a GGUF file says about its model, read without loading it.

Source: the GGUF specification of ggml, version 3 (versions 2 and 3 are read; 1 has not been written since 2023).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weft.errors import ModelError

_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9
_CONTROL: Final = (2, 3)
"""Types of tokens that no text stands for: the unknown one, and control tokens. Source: ``llama_token_type``."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about a model before it runs.

    Attributes:
        parameters: Number of weights.
        trained_window: Longest context that it was trained for; None where the file does not say.
        template: Its chat template (Jinja), if it has one.
        marks: The texts of its control tokens (``<|im_end|>``), by which a template tells who speaks.
    """

    parameters: int
    trained_window: int | None
    template: str | None
    marks: tuple[str, ...] = ()


def read_facts(path: Path) -> ModelFacts:
    """The facts in the header of a GGUF file.

    Raises:
        ModelError: It is no GGUF file, or is cut short.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(data).read()
    except (struct.error, ValueError, OverflowError) as error:
        raise ModelError(f"{path.name} is no readable GGUF model: {error}") from error
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from error


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._pos = 0

    def read(self) -> ModelFacts:
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with 'GGUF'")
        self._pos = 4
        version = self._number("<I")
        if version not in (2, 3):
            raise ValueError(f"version {version} of the format is not known")
        tensors, entries = self._number("<Q"), self._number("<Q")
        wanted: dict[str, Any] = {}
        places: list[int] = []
        marks: list[str] = []
        for _ in range(entries):
            key = self._text()
            kind = self._number("<I")
            if key == "tokenizer.ggml.tokens" and kind == _ARRAY:
                places = self._places()
                continue
            if key == "tokenizer.ggml.token_type" and kind == _ARRAY:
                marks = self._marks(places)
                continue
            value = self._value(kind)
            # Lists are the vocabulary; of the rest only this is asked for.
            if key.endswith(".context_length") or key == "tokenizer.chat_template":
                wanted[key.rpartition(".")[2]] = value
        parameters = 0
        for _ in range(tensors):
            self._skip_text()
            weights = 1
            for _ in range(self._number("<I")):
                weights *= self._number("<Q")
            parameters += weights
            self._pos += 12  # type and offset
        if self._pos > len(self._data):
            raise ValueError("it is cut short")
        return ModelFacts(parameters, wanted.get("context_length"), wanted.get("chat_template"), tuple(marks))

    def _number(self, layout: str) -> int:
        value: int
        (value,) = struct.unpack_from(layout, self._data, self._pos)
        self._pos += struct.calcsize(layout)
        return value

    def _text(self) -> str:
        size = self._number("<Q")
        start, self._pos = self._pos, self._pos + size
        if self._pos > len(self._data):
            raise ValueError("it is cut short")
        return self._data[start : self._pos].decode()

    def _skip_text(self) -> None:
        size = self._number("<Q")  # reads on, so not inside the next line
        self._pos += size

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            self._skip_list()
            return None
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _places(self) -> list[int]:
        """Where the strings of a list are."""
        start = self._pos
        kind, count = self._number("<I"), self._number("<Q")
        if kind != _STRING:
            self._pos = start
            self._skip_list()
            return []
        places = []
        for _ in range(count):
            places.append(self._pos)
            self._skip_text()
        return places

    def _marks(self, places: list[int]) -> list[str]:
        """The texts of control tokens, where the types of the tokens follow their texts, as they do in practice."""
        kind, count = self._number("<I"), self._number("<Q")
        layout = _SCALARS.get(kind)
        if layout is None:
            raise ValueError(f"its token types are of the unknown type {kind}")
        end = self._pos + struct.calcsize(layout) * count
        if end > len(self._data):
            raise ValueError("it is cut short")
        types = struct.iter_unpack(layout, self._data[self._pos : end])
        found = [place for place, (type_,) in zip(places, types, strict=False) if type_ in _CONTROL]
        marks = []
        for self._pos in found:
            marks.append(self._text())
        self._pos = end
        return marks

    def _skip_list(self) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        skip: Callable[[], Any]
        if kind == _STRING:
            skip = self._skip_text
        elif kind == _ARRAY:
            skip = self._skip_list
        elif kind in _SCALARS:
            self._pos += count * struct.calcsize(_SCALARS[kind])
            return
        else:
            raise ValueError(f"it has a list of unknown type {kind}")
        for _ in range(count):
            skip()

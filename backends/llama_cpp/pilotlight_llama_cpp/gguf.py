"""Read the header of a GGUF file without llama.cpp.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A header is not trusted: each
length is checked against the file, and each count against a limit, before it is used.
"""

import mmap
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple, Self

from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.bounded_read import open_regular

MAGIC = b"GGUF"

_VERSIONS = (2, 3)
_FIRST_KEY = 24  # after magic, version, tensor count and key count
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 17
_MAX_STRINGS = 4_000_000  # in all arrays; the largest vocabularies have some 500,000 with merges
_MAX_STRING = 4 << 20  # bytes; chat templates have tens of thousands
_MAX_NUMBERS = 4096  # in an array that is kept: arrays by layer have at most 512
_MAX_DIMENSIONS = 4
_STRIDE = 1024  # strings between two recorded positions of an array

_STRING, _ARRAY = 8, 9
_NUMBERS = {
    kind: struct.Struct(f"<{code}")
    for kind, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
}
_U32, _U64 = _NUMBERS[4], _NUMBERS[10]

# Bytes and elements of a block, by ggml_type (ggml.h); tensors of other types count no bytes.
_BLOCKS = {
    0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32),
    10: (84, 256), 11: (110, 256), 12: (144, 256), 13: (176, 256), 14: (210, 256),
    24: (1, 1), 25: (2, 1), 26: (4, 1), 27: (8, 1), 28: (8, 1), 30: (2, 1), 39: (17, 32),
}  # fmt: skip

_KINDS = {int: "a whole number", str: "text", bool: "true or false"}


class Strings(NamedTuple):
    """An array of strings that was skipped: its length, and each `_STRIDE`th position."""

    length: int
    positions: list[int]


class Header:
    """A header's values by key. Arrays of strings and long arrays are skipped."""

    def __init__(self, path: Path, keep_strings: Collection[str] = ()) -> None:
        """Read the header of *path*; raises `ModelFileInvalid` and `OSError`.

        `string_at` works for the arrays named in *keep_strings*.
        """
        self.path = path
        self.values: dict[str, Any] = {}
        self.strings: dict[str, Strings] = {}
        self.kinds: dict[str, int] = {}
        """The type of each value that is kept, of an array that of its elements."""
        self.tensors: dict[str, tuple[int, ...]] = {}
        """The dimensions of each tensor, the innermost first as in ggml."""
        self.types: dict[str, int] = {}
        """The `ggml_type` of each tensor."""
        self.tensor_count = 0
        self._walked = 0
        with open_regular(path) as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.size_bytes = len(self._data)
        try:
            self._read(keep_strings)
        except (struct.error, OverflowError):  # past the end, or past the largest offset
            raise self.invalid("the file ends within its header") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._data.close()

    def invalid(self, reason: str) -> ModelFileInvalid:
        """Return an error about this file."""
        return ModelFileInvalid(self.path, reason)

    def string_at(self, key: str, index: int) -> str:
        """Return a string of a kept array; "" if *index* is out of range."""
        strings = self.strings.get(key)
        if strings is None or not 0 <= index < strings.length:
            return ""
        position = strings.positions[index // _STRIDE]
        position = self._walk(position, index % _STRIDE)
        return self._string(position)[0]

    def number(self, key: str) -> int | None:
        """Return the whole number at *key*; raises `ModelFileInvalid` for any other value."""
        value: int | None = self._typed(key, int)
        if value is not None and value < 0:
            raise self.invalid(f"{key!r} must be at least 0, got {value}")
        return value

    def text(self, key: str) -> str | None:
        """Return the text at *key*; raises `ModelFileInvalid` for any other value."""
        value: str | None = self._typed(key, str)
        return value

    def flag(self, key: str) -> bool:
        """Return whether *key* is present and true."""
        return bool(self._typed(key, bool))

    def numbers(self, key: str) -> tuple[int, ...]:
        """Return the whole numbers at *key*, an array or a single one; none without such a key.

        Booleans count: llama.cpp's writers store flags by layer either way.
        """
        value = self.values.get(key)
        value = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(isinstance(each, int) for each in value):
            raise self.invalid(f"{key!r} must hold whole numbers")
        return value

    def _typed(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        if value is not None and type(value) is not kind:
            raise self.invalid(f"{key!r} must be {_KINDS[kind]}, got {value!r:.40}")
        return value

    def _read(self, keep_strings: Collection[str]) -> None:
        (version,) = _U32.unpack_from(self._data, 4)
        if version not in _VERSIONS:
            # The version of a big-endian file has its bytes swapped; llama.cpp does not swap them.
            order = "big-endian GGUF" if version & 0xFFFF == 0 else f"GGUF version {version}"
            raise self.invalid(f"{order} is not supported")
        (self.tensor_count,) = _U64.unpack_from(self._data, 8)
        (keys,) = _U64.unpack_from(self._data, 16)
        if keys > _MAX_KEYS or self.tensor_count > _MAX_TENSORS:
            raise self.invalid(
                f"{keys} keys and {self.tensor_count} tensors: the limits are {_MAX_KEYS} and"
                f" {_MAX_TENSORS}"
            )
        position = _FIRST_KEY
        seen: set[str] = set()
        for _ in range(keys):
            key, position = self._string(position)
            if key in seen:
                raise self.invalid(f"the key {key!r} occurs twice")
            seen.add(key)
            position = self._value(key, position, keep=key in keep_strings)
        self._check_tensors(position)

    def _value(self, key: str, position: int, *, keep: bool) -> int:
        """Read the value at *position*; return the position of its end."""
        (kind,) = _U32.unpack_from(self._data, position)
        self.kinds[key] = kind
        position += 4
        if kind == _STRING:
            self.values[key], position = self._string(position)
        elif kind == _ARRAY:
            position = self._array(key, position, keep=keep)
        else:
            number = self._number(kind)
            (self.values[key],) = number.unpack_from(self._data, position)
            position += number.size
        return position

    def _array(self, key: str, position: int, *, keep: bool) -> int:
        (kind,) = _U32.unpack_from(self._data, position)
        self.kinds[key] = kind
        count: int = _U64.unpack_from(self._data, position + 4)[0]
        position += 12
        if kind == _STRING:
            return self._string_array(key, position, count, keep=keep)
        number = self._number(kind)
        end = position + number.size * count
        if end > self.size_bytes:
            raise self.invalid(f"the file ends within {key!r}")
        if count <= _MAX_NUMBERS:
            self.values[key] = struct.unpack_from(
                f"<{count}{number.format[1:]}", self._data, position
            )
        return end

    def _string_array(self, key: str, position: int, count: int, *, keep: bool) -> int:
        self._walked += count
        if self._walked > _MAX_STRINGS:
            raise self.invalid(
                f"{key!r} has {count} strings: the limit of a file is {_MAX_STRINGS}"
            )
        positions = []
        for first in range(0, count, _STRIDE):
            positions.append(position)
            position = self._walk(position, min(_STRIDE, count - first))
        if position > self.size_bytes:
            raise self.invalid(f"the file ends within {key!r}")
        if keep:
            self.strings[key] = Strings(count, positions)
        return position

    def _walk(self, position: int, count: int) -> int:
        """Skip *count* strings; return the position of their end.

        This is half of a probe's time, some 300,000 steps for a large vocabulary, so the loop does
        nothing else; the caller checks the end against the file.
        """
        data = self._data
        unpack: Callable[[mmap.mmap, int], tuple[int]] = _U64.unpack_from
        for _ in range(count):
            position += 8 + unpack(data, position)[0]
        return position

    def _string(self, position: int) -> tuple[str, int]:
        (length,) = _U64.unpack_from(self._data, position)
        position += 8
        end = position + length
        if length > _MAX_STRING or end > self.size_bytes:
            raise self.invalid(
                f"a string of {length} bytes exceeds the file, or the limit of {_MAX_STRING}"
            )
        try:
            return self._data[position:end].decode(), end
        except UnicodeDecodeError:
            raise self.invalid(f"the string at byte {position} is not UTF-8") from None

    def _number(self, kind: int) -> struct.Struct:
        number = _NUMBERS.get(kind)
        if number is None:
            raise self.invalid(f"values of type {kind} are not supported")
        return number

    def _check_tensors(self, position: int) -> None:
        """Raise if the file ends before a tensor does: an incomplete download."""
        end = 0
        for _ in range(self.tensor_count):
            name, position = self._string(position)
            (dimensions,) = _U32.unpack_from(self._data, position)
            if dimensions > _MAX_DIMENSIONS:
                raise self.invalid(
                    f"the tensor {name!r} has {dimensions} dimensions: the limit is"
                    f" {_MAX_DIMENSIONS}"
                )
            layout = struct.unpack_from(f"<{dimensions}QIQ", self._data, position + 4)
            position += 4 + 8 * dimensions + 12
            if name in self.tensors:
                raise self.invalid(f"the tensor {name!r} occurs twice")
            self.tensors[name], self.types[name] = layout[:-2], layout[-2]
            end = max(end, layout[-1] + _tensor_bytes(layout[:-2], layout[-2]))
        alignment = self.values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise self.invalid(f"'general.alignment' must be above 0, got {alignment!r:.40}")
        needed = position + -position % alignment + end
        if needed > self.size_bytes:
            raise self.invalid(
                f"the file is incomplete: it has {self.size_bytes} of {needed} bytes"
            )


def _tensor_bytes(shape: tuple[int, ...], kind: int) -> int:
    size, elements = _BLOCKS.get(kind, (0, 1))
    count = 1
    for length in shape:
        count *= length
    return count // elements * size

"""Check that an ONNX file, a protocol buffer, is complete, from a few of its bytes."""

from pathlib import Path
from typing import BinaryIO

from pilotlight_backend import ModelFileInvalid

# protobuf.dev/programming-guides/encoding: the low three bits of a field's tag are its wire type.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_MOST_FIELDS = 10_000


def check_whole(path: Path) -> None:
    """Raise `ModelFileInvalid` unless the file ends where its last field does.

    It reads the lengths of the fields and skips their content, so a large graph takes no longer.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            for _ in range(_MOST_FIELDS):
                if file.tell() == size > 0:
                    return
                _skip_field(file, size)
    except EOFError:
        raise ModelFileInvalid(
            path, f"the file is incomplete: it ends after {size} bytes, within a field"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelFileInvalid(path, f"it is not an ONNX file: {error}") from error
    raise ModelFileInvalid(path, "it is not an ONNX file: it has too many fields")


def _skip_field(file: BinaryIO, size: int) -> None:
    number, kind = divmod(_varint(file), 8)
    if number == 0:
        raise ValueError("a field has the number 0")
    if kind == _VARINT:
        _varint(file)
        return
    if kind != _BYTES and kind not in _SIZES:
        raise ValueError(f"a field has the unknown wire type {kind}")
    end = (_varint(file) if kind == _BYTES else _SIZES[kind]) + file.tell()
    if end > size:
        raise EOFError
    file.seek(end)


def _varint(file: BinaryIO) -> int:
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:  # noqa: PLR2004 - the bit that says another byte follows
            return value
    raise ValueError("a varint is longer than 10 bytes")

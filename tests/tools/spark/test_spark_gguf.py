"""The committed model file."""

import struct
from pathlib import Path

from tools.spark.prompt import TEMPLATE_PATH

MODEL = Path(__file__).parents[3] / "backends/llama_cpp/pilotlight_llama_cpp/spark.gguf"
PROJECTOR = MODEL.with_name("mmproj-spark.gguf")


def _string(data: bytes, key: str) -> str:
    # GGUF writes a string as: key, type 8 as u32, length as u64, UTF-8.
    start = data.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key)
    kind, length = struct.unpack_from("<IQ", data, start)
    assert kind == 8
    return data[start + 12 : start + 12 + length].decode()


def test_it_is_small() -> None:
    """The wheel that carries the model stays small: under 5 MB."""
    assert 1_000_000 < MODEL.stat().st_size < 5_000_000


def test_its_projector_is_smaller() -> None:
    """The eyes add at most a megabyte, and say that they are a projector."""
    data = PROJECTOR.read_bytes()
    assert 100_000 < len(data) < 1_000_000
    assert _string(data, "general.architecture") == "clip"
    assert _string(data, "clip.projector_type") == "mlp"


def test_it_says_what_it_is() -> None:
    """Architecture, name and split are what servers look for."""
    data = MODEL.read_bytes()
    assert data[:4] == b"GGUF"
    assert _string(data, "general.architecture") == "qwen3"
    assert _string(data, "general.name") == "spark"
    assert _string(data, "tokenizer.ggml.pre") == "qwen2"


def test_its_template_is_the_one_in_the_sources() -> None:
    """The embedded chat template is the file that the other tests render."""
    data = MODEL.read_bytes()
    assert _string(data, "tokenizer.chat_template") == TEMPLATE_PATH.read_text(encoding="utf-8")

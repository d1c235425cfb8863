"""The committed folder for ONNX Runtime GenAI."""

import json
import struct
from pathlib import Path
from typing import Any

from tools.spark.prompt import TEMPLATE_PATH

BACKENDS = Path(__file__).parents[3] / "backends"
FOLDER = BACKENDS / "onnx/pilotlight_onnx/spark"
GGUF = BACKENDS / "llama_cpp/pilotlight_llama_cpp/spark.gguf"


def _read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def test_it_is_small_and_complete() -> None:
    """The wheel that carries the model stays small, and holds what a server reads."""
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {
        "chat_template.jinja",
        "genai_config.json",
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(sizes.values()) < 5_000_000


def test_it_ends_where_the_gguf_ends() -> None:
    """The tokens that end an answer are set, and the one that would begin a prompt is no guess."""
    vocabulary = {
        token["content"]: token["id"] for token in _read("tokenizer.json")["added_tokens"]
    }
    model = _read("genai_config.json")["model"]
    assert model["eos_token_id"] == [vocabulary["<|im_end|>"], vocabulary["<|endoftext|>"]]
    assert model["bos_token_id"] == vocabulary["<|endoftext|>"]
    assert model["context_length"] == 1024


def test_its_tokens_are_those_of_the_gguf() -> None:
    """Both files are of one training: each merge of the one tokenizer is in the other."""
    merges = [" ".join(pair).encode() for pair in _read("tokenizer.json")["model"]["merges"]]
    data = GGUF.read_bytes()
    assert len(merges) > 500
    # GGUF writes a string as its length as u64, then UTF-8.
    assert all(struct.pack("<Q", len(merge)) + merge in data for merge in merges)


def test_its_template_is_the_one_in_the_sources() -> None:
    """The chat template is the file that the other tests render."""
    assert (FOLDER / "chat_template.jinja").read_bytes() == TEMPLATE_PATH.read_bytes()

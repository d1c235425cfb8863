"""Write an ONNX Runtime GenAI folder of a real architecture's shape with random weights.

    python -m venv build/onnx && build/onnx/bin/pip install -r benchmarks/random_onnx.txt
    build/onnx/bin/python -m benchmarks.random_onnx weights/big-onnx     # Qwen3-0.6B's shape, int4

The shape, the tokenizer and the template are those of `random_gguf.py`. Building needs PyTorch,
transformers and onnx, which nothing else here does, so it has an environment of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from benchmarks.random_gguf import CHAT_TEMPLATE, SPECIAL_TOKENS, TINY, Shape, make_tokenizer


def write(path: Path, shape: Shape, *, precision: str = "int4", seed: int = 0) -> None:
    """Write a model of *shape* into the folder *path*."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        _write_tokenizer(source, shape)
        _write_model(source, shape)
        build = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-e", "cpu"]
        build += ["-i", str(source), "-o", str(path), "-p", precision, "-c", str(source / "cache")]
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
        subprocess.run(build, check=True, env=environment)  # noqa: S603 - our own command


def _write_tokenizer(folder: Path, shape: Shape) -> None:
    tokens, merges = make_tokenizer(shape.vocabulary)
    words = tokens[: -len(SPECIAL_TOKENS)]
    vocabulary = {word: index for index, word in enumerate(words)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _write_model(folder: Path, shape: Shape) -> None:
    first_special = shape.vocabulary - len(SPECIAL_TOKENS)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=True,
        bos_token_id=first_special,
        eos_token_id=first_special + 2,
        pad_token_id=first_special,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)


def main() -> None:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a shape for tests")
    parser.add_argument("--precision", default="int4", choices=("int4", "int8", "fp32"))
    arguments = parser.parse_args()
    write(arguments.path, TINY if arguments.tiny else Shape(), precision=arguments.precision)


if __name__ == "__main__":
    main()

"""Write the exported GGUF once more, as a folder for ONNX Runtime GenAI on the CPU.

The weights are read back from the GGUF's Q8_0, not from training, so that both backends hold the
same numbers and give the same answers.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tools.spark.model import Shape
from tools.spark.prompt import TEMPLATE_PATH
from tools.spark.released import load_released
from tools.spark.tokenizer import CONTROL, END_OF_TEXT, MARKERS, TURN_END, load_tokenizer

PRECISION = "int8"
_BUILT = ("model.onnx", "model.onnx.data", "genai_config.json")
# Q8_0's own block, so that quantising the matrices again changes next to nothing.
_OPTIONS = ("block_size=32", "is_symmetric=true", "algo_config=rtn")


def _token_config(vocabulary: dict[str, int]) -> dict[str, Any]:
    added = {
        str(vocabulary[token]): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in CONTROL,
        }
        for token in (*CONTROL, *MARKERS)
    }
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "bos_token": END_OF_TEXT,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": Shape().max_position_embeddings,
    }


def _write_hugging_face(gguf_path: Path, tokenizer_path: Path, folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_path).get_vocab(with_added_tokens=True)
    config = {
        **asdict(Shape()),
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        # No prompt starts with it, but readers that find no such token assume one.
        "bos_token_id": vocabulary[END_OF_TEXT],
        "eos_token_id": [vocabulary[TURN_END], vocabulary[END_OF_TEXT]],
        "pad_token_id": vocabulary[END_OF_TEXT],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = load_released(gguf_path).state_dict()
    named = {f"model.{name}": weight for name, weight in weights.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(tokenizer_path, folder)


def _write_tokenizer(tokenizer_path: Path, folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_path).get_vocab(with_added_tokens=True)
    tokenizer = json.loads(tokenizer_path.read_text())
    # The trainer calls all the tokens special that it is given. Markers are text.
    for token in tokenizer["added_tokens"]:
        token["special"] = token["content"] in CONTROL
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False))
    shutil.copyfile(TEMPLATE_PATH, folder / "chat_template.jinja")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(_token_config(vocabulary), indent=2) + "\n"
    )


def _build(source: Path, built: Path, precision: str) -> None:
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source)]
    command += ["-o", str(built), "-p", precision, "-e", "cpu", "-c", str(built / "cache")]
    if precision.startswith("int"):
        command += ["--extra_options", *_OPTIONS]
    subprocess.run(command, check=True)  # noqa: S603 - the arguments are this module's own


def export_onnx(folder: Path, gguf_path: Path, target: Path, *, precision: str = PRECISION) -> None:
    """Write the model of ``gguf_path``, with the tokenizer of ``folder``, into ``target``."""
    source = folder / "hugging_face"
    _write_hugging_face(gguf_path, folder / "tokenizer.json", source)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as built:
        _build(source, Path(built), precision)
        for name in _BUILT:
            if (Path(built) / name).exists():
                shutil.copyfile(Path(built) / name, target / name)
    # The builder's copies are rewritten by Transformers; these are what the model was trained on.
    _write_tokenizer(folder / "tokenizer.json", target)
    for path in sorted(target.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")

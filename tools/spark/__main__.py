"""``python -m tools.spark STEP``: make the embedded model, or its eyes."""

import argparse
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
BUILD = _HERE / "build"
GGUF = _ROOT / "backends/llama_cpp/pilotlight_llama_cpp/spark.gguf"
MMPROJ = GGUF.with_name("mmproj-spark.gguf")
ONNX = _ROOT / "backends/onnx/pilotlight_onnx/spark"


def _train(arguments: Namespace) -> None:
    from tools.spark.train import COURSES, shortened, train

    few = arguments.steps
    train(arguments.folder, shortened(COURSES, few) if few else COURSES)


def _evaluate(arguments: Namespace) -> None:
    from tools.spark.evaluate import evaluate

    evaluate(arguments.folder, arguments.prompts)


def _export(arguments: Namespace) -> None:
    from tools.spark.export_gguf import export_gguf

    export_gguf(arguments.folder, arguments.gguf)


def _export_onnx(arguments: Namespace) -> None:
    # Set before the import: its telemetry writes to the home folder and opens sockets.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from tools.spark.export_onnx import export_onnx

    export_onnx(arguments.folder, arguments.gguf, arguments.onnx)


def _train_vision(arguments: Namespace) -> None:
    from tools.spark.train_vision import COURSES, Sources, shortened, train_vision

    sources = Sources(arguments.folder, arguments.gguf, arguments.onnx)
    train_vision(sources, shortened(arguments.steps) if arguments.steps else COURSES)


def _evaluate_vision(arguments: Namespace) -> None:
    from tools.spark.evaluate_vision import evaluate_vision
    from tools.spark.released import load_released, load_released_tokenizer

    model, tokenizer = load_released(arguments.gguf), load_released_tokenizer(arguments.onnx)
    evaluate_vision(arguments.folder, model, tokenizer, arguments.prompts)


def _export_mmproj(arguments: Namespace) -> None:
    from tools.spark.export_mmproj import export_mmproj

    export_mmproj(arguments.folder, arguments.mmproj)


_STEPS: dict[str, Callable[[Namespace], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "export-onnx": _export_onnx,
    "train-vision": _train_vision,
    "evaluate-vision": _evaluate_vision,
    "export-mmproj": _export_mmproj,
}


def main() -> None:
    """Run one step; each imports only what it needs."""
    parser = argparse.ArgumentParser(prog="python -m tools.spark", description=__doc__)
    parser.add_argument("step", choices=tuple(_STEPS))
    parser.add_argument("--folder", type=Path, default=BUILD, help="tokenizer and weights")
    parser.add_argument("--gguf", type=Path, default=GGUF, help="where to export to")
    parser.add_argument("--mmproj", type=Path, default=MMPROJ, help="where to export the eyes to")
    parser.add_argument("--onnx", type=Path, default=ONNX, help="the folder to export to")
    parser.add_argument("--steps", type=int, help="steps of each training phase, to try the script")
    parser.add_argument("--prompts", type=int, default=200, help="test prompts for each task")
    arguments = parser.parse_args()
    # Threads that spin while they wait lose to whatever else runs on these cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _STEPS[arguments.step](arguments)


if __name__ == "__main__":
    main()

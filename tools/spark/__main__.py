"""``python -m tools.spark train | evaluate | export | export-onnx``: make the embedded model."""

import argparse
import os
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
BUILD = _HERE / "build"
GGUF = _ROOT / "backends/llama_cpp/pilotlight_llama_cpp/spark.gguf"
ONNX = _ROOT / "backends/onnx/pilotlight_onnx/spark"


def main() -> None:
    """Run one step; each imports only what it needs."""
    parser = argparse.ArgumentParser(prog="python -m tools.spark", description=__doc__)
    parser.add_argument("step", choices=("train", "evaluate", "export", "export-onnx"))
    parser.add_argument("--folder", type=Path, default=BUILD, help="tokenizer and weights")
    parser.add_argument("--gguf", type=Path, default=GGUF, help="where to export to")
    parser.add_argument("--onnx", type=Path, default=ONNX, help="the folder to export to")
    parser.add_argument("--steps", type=int, help="steps of each training phase, to try the script")
    parser.add_argument("--prompts", type=int, default=200, help="test prompts for each task")
    arguments = parser.parse_args()
    if arguments.step == "train":
        # Threads that spin while they wait lose to whatever else runs on these cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from tools.spark.train import COURSES, shortened, train

        few = arguments.steps
        train(arguments.folder, shortened(COURSES, few) if few else COURSES)
    elif arguments.step == "evaluate":
        from tools.spark.evaluate import evaluate

        evaluate(arguments.folder, arguments.prompts)
    elif arguments.step == "export":
        from tools.spark.export_gguf import export_gguf

        export_gguf(arguments.folder, arguments.gguf)
    else:
        # Set before the import: its telemetry writes to the home folder and opens sockets.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        from tools.spark.export_onnx import export_onnx

        export_onnx(arguments.folder, arguments.gguf, arguments.onnx)


if __name__ == "__main__":
    main()

"""Time the cold start against llama-server: from exec to the first streamed token, in turns.

python -m benchmarks.first_token model.gguf --llama-server PATH --rounds 5

Both are started with the model, asked as soon as they listen, and asked again while they refuse;
pages are warm. llama-server is built from the source inside llama-cpp-python's sdist, with the same
compiler and for the same CPU.
"""

import argparse
import json
import statistics
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.listening import free_port, listening

_PILOTLIGHT = str(Path(sysconfig.get_path("scripts")) / "pilotlight")
_SLOTS, _CONTEXT = 4, 4096


def pilotlight(model: Path, port: int) -> list[str]:
    """Return the command that serves *model*, loaded at the start."""
    return [
        _PILOTLIGHT, "serve", "--port", str(port), "--models-dir", str(model.parent),
        "--preload", model.stem, "--parallel", str(_SLOTS), "--context-length", str(_CONTEXT),
    ]  # fmt: skip


def llama_server(program: Path, model: Path, port: int, *flags: str) -> list[str]:
    """Return the peer's command, with as many slots of the same length."""
    return [
        str(program), "-m", str(model), "--port", str(port), "-np", str(_SLOTS),
        "-c", str(_SLOTS * _CONTEXT), *flags,
    ]  # fmt: skip


def start(command: list[str], port: int, model: str) -> tuple[float, float]:
    """Return the seconds from exec to listening and to the first streamed token."""
    with listening(command, port) as (began, seconds):
        while not _first_token(port, model):
            time.sleep(0.005)
        return seconds, time.perf_counter() - began


def _first_token(port: int, model: str) -> bool:
    """Ask, and return True when the first token is there, False where the server refuses yet."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "temperature": 0,
        "max_tokens": 4,
        "stream": True,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310 - our own address
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                choices = json.loads(line[6:])["choices"]
                delta = choices[0]["delta"] if choices else {}
                if delta.get("content") or delta.get("reasoning_content"):
                    return True
                if choices and choices[0].get("finish_reason"):
                    return True  # the first token ended the answer
    except (urllib.error.HTTPError, ConnectionError):
        return False
    return False


def main() -> None:
    """Parse the command line, and print the medians and their ratios."""
    parser = argparse.ArgumentParser(description="Time the cold start against llama-server.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds + 1):
        port = free_port()
        commands = {"pilotlight": pilotlight(model, port)}
        if arguments.llama_server:
            commands["llama-server"] = llama_server(arguments.llama_server, model, port)
        for name, command in commands.items():
            times.setdefault(name, []).append(start(command, port, model.stem))
    medians = {}
    for name, rounds in times.items():
        heard, first_token = (
            statistics.median(column) for column in zip(*rounds[1:], strict=True)
        )  # the first is for warmth
        medians[name] = first_token
        sys.stdout.write(f"{name:<13} listening {heard:.3f} s  first token {first_token:.3f} s\n")
    if len(medians) > 1:
        ratio = medians["pilotlight"] / medians["llama-server"]
        sys.stdout.write(f"pilotlight/llama-server {ratio:.2f}\n")


if __name__ == "__main__":
    main()

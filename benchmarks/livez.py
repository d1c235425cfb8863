"""Measure /livez during the prefill of a long prompt, and the pauses of another model's stream.

python -m benchmarks.livez big-onnx --tokens 1000 --rounds 3

Neither a prompt nor a load may delay the rest of the process. The client sends a request every
five milliseconds over one connection, from a process of its own that shares the machine's cores
with the server. `--stream` has the embedded model generate at the same time, over and over.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.server_process import serving

_EVERY = 0.005
_LONG_ANSWER = "Count from 1 to 100."


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=1000, help="of the prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", action="store_true", help="with another model's stream beside")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "models.yaml"
        models.write_text(json.dumps({"models": {"big": str(given.model.absolute())}}))
        flags = {"--models-file": models, "--preload": "all", "--models-dir": folder / "none"}
        with serving(flags, folder / "log") as server:
            for seed in range(given.rounds):
                print(_round(server.port, given.tokens, seed, stream=given.stream), flush=True)  # noqa: T201


def _round(port: int, tokens: int, seed: int, *, stream: bool) -> str:
    prompt = _prompt(port, tokens, seed)
    gaps: list[float] = []
    asked = threading.Thread(target=_complete, args=(port, prompt), daemon=True)
    with _streaming(port, gaps) if stream else _alone():
        began = time.perf_counter()
        asked.start()
        took = _livez(port, asked)
        read = time.perf_counter() - began
    told = (
        f"prompt {len(prompt)} tokens in {read:.2f} s  /livez asked {len(took)} times,"
        f" median {statistics.median(took) * 1e3:.1f} ms, longest {max(took) * 1e3:.1f} ms"
    )
    return told + (f"  stream's longest gap {max(gaps) * 1e3:.1f} ms" if stream else "")


def _livez(port: int, until: threading.Thread) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took = []
    while until.is_alive():
        began = time.perf_counter()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
        if answer.status != http.client.OK:
            raise SystemExit(f"/livez answered {answer.status}")
        time.sleep(_EVERY)
    return took


def _prompt(port: int, tokens: int, seed: int) -> list[int]:
    # Its prefix differs in each round, so no slot has cached any of it.
    text = " ".join(f"{seed} word {number}" for number in range(tokens))
    ids: list[int] = _ask(port, "/tokenize", {"model": "big", "prompt": text})["tokens"]
    return ids[:tokens]


def _complete(port: int, prompt: list[int]) -> None:
    _ask(port, "/v1/completions", {"model": "big", "prompt": prompt, "max_tokens": 1})


def _ask(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    read: dict[str, Any] = json.loads(answer.read())
    if answer.status != http.client.OK:
        raise SystemExit(f"{path} answered {answer.status}: {read}")
    return read


@contextmanager
def _alone() -> Iterator[None]:
    yield


@contextmanager
def _streaming(port: int, gaps: list[float]) -> Iterator[None]:
    """Stream long answers of the embedded model, and note the times between their chunks."""
    over = threading.Event()
    thread = threading.Thread(target=_stream, args=(port, gaps, over), daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()


def _stream(port: int, gaps: list[float], over: threading.Event) -> None:
    messages = [{"role": "user", "content": _LONG_ANSWER}]
    body = json.dumps({"model": "spark", "messages": messages, "stream": True, "temperature": 0})
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        last = time.perf_counter()
        for line in answer:
            if line.startswith(b"data: "):
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()


if __name__ == "__main__":
    main()

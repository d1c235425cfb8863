"""Compare the start of `pilotlight serve` with a baked system prompt and without.

    python -m benchmarks.baked model.gguf --words 420 --rounds 3

The prompt is baked once. Then servers are started in turns, with the file and without, and each is
asked at once, in a stream, a question under that system prompt: what is timed reaches from exec to
the first token. The page cache is warm for both. A short answer is compared too: it must be equal.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


class Start(NamedTuple):
    """One start: seconds from exec to the first token, the answer, and its prompt's tokens."""

    seconds: float
    answer: str
    prompt_tokens: int
    cached_tokens: int


def system_prompt(words: int) -> str:
    """Return a text that is the same each time."""
    choose = random.Random(0)  # noqa: S311 - the same text each time
    return " ".join("".join(choose.choices(_LETTERS, k=9)) for _ in range(words))


def command(name: str, *arguments: object, models_file: Path) -> list[str]:
    """Return a command of ours that knows the models of *models_file* alone."""
    command = [sys.executable, "-m", "pilotlight", name, *map(str, arguments)]
    return [*command, "--models-file", str(models_file), "--models-dir", str(models_file.parent)]


def environment() -> dict[str, str]:
    """Return this process's environment without settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_")}


def start(models_file: Path, system: str) -> Start:
    """Start a server, ask it, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serve = command("serve", "--port", port, "--preload", "model", models_file=models_file)
    began = time.perf_counter()
    server = subprocess.Popen(  # noqa: S603 - our own command
        serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        while server.poll() is None:
            try:
                return ask(f"http://127.0.0.1:{port}/v1/chat/completions", system, began)
            except httpx.ConnectError:
                time.sleep(0.001)
        raise RuntimeError("the server ended")
    finally:
        server.terminate()
        server.wait()


def ask(url: str, system: str, began: float) -> Start:
    """Stream an answer; return it, and when its first token came."""
    request = {
        "model": "model",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": "What is 2+2?"},
        ],
        "temperature": 0,
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first: float | None = None
    answer = ""
    usage: dict[str, Any] = {}
    with httpx.stream(
        "POST", url, json=request, headers={"Prefer": "wait=45"}, timeout=600
    ) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                answer += choice["delta"].get("content") or ""
                # The chunk with the role comes before the prompt is evaluated, and is empty.
                if first is None and (answer or choice["finish_reason"]):
                    first = time.perf_counter() - began
    if first is None:
        raise RuntimeError("there was no answer")
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Start(first, answer, usage["prompt_tokens"], cached)


def main() -> None:
    """Parse the command line, bake, and compare."""
    parser = argparse.ArgumentParser(description="Compare starts with and without a baked prompt.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--words", type=int, default=420)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    system = system_prompt(arguments.words)
    with tempfile.TemporaryDirectory() as folder:
        prompt, baked = Path(folder, "prompt.txt"), Path(folder, "model.baked")
        prompt.write_text(system)
        plain_file, baked_file = Path(folder, "plain.yaml"), Path(folder, "baked.yaml")
        model = json.dumps(str(arguments.path.resolve()))  # JSON's strings are YAML's too
        plain_file.write_text(f"model: {model}\n")
        baked_file.write_text(f"model: {{path: {model}, baked: {json.dumps(str(baked))}}}\n")
        bake = command("bake", "model", "--prompt", prompt, models_file=baked_file)
        subprocess.run(bake, check=True, env=environment())  # noqa: S603 - our own command
        pairs = [
            (start(baked_file, system), start(plain_file, system)) for _ in range(arguments.rounds)
        ]
    with_baked, without = zip(*pairs, strict=True)
    equal = len({one.answer for pair in pairs for one in pair}) == 1
    print(  # noqa: T201
        f"prompt {without[0].prompt_tokens} tokens  baked {with_baked[0].cached_tokens}"
        f"  exec to first token: without {statistics.median(one.seconds for one in without):.2f} s"
        f"  with {statistics.median(one.seconds for one in with_baked):.2f} s"
        f"  without/with {statistics.median(b.seconds / a.seconds for a, b in pairs):.1f}"
        f"  answers {'equal' if equal else 'differ'}"
    )


if __name__ == "__main__":
    main()

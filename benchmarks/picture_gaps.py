"""Compare how long streams of text wait beside pictures, and beside a prompt of one chunk.

    python -m benchmarks.picture_gaps model.gguf --rounds 3

The projector lies beside the model, where it is found by its name. Each round four streams of text
decode; beside them comes one prompt of a chunk, and in turn four pictures at once. Printed is the
longest time between two tokens of a stream of text, and how many times that of the prompt it is.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.seeing import picture
from benchmarks.server_process import serving
from benchmarks.versus_client import Heard, stream

STREAMS = PICTURES = 4
CHUNK = 512
"""Tokens of a prompt that are evaluated in a step."""
TOKENS = 300
_TEXT, _CHAT = "/v1/completions", "/v1/chat/completions"


def completion(prompt: list[int], tokens: int) -> dict[str, Any]:
    """Return a request for so many tokens behind *prompt*."""
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


def question(side: int, seed: int) -> dict[str, Any]:
    """Return a request about a picture of noise."""
    content = [
        {"type": "image_url", "image_url": {"url": picture(side, seed)}},
        {"type": "text", "text": "What is this?"},
    ]
    return {
        "messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0,
        "ignore_eos": True,
    }  # fmt: skip


async def longest_gap(port: int, model: str, path: str, beside: list[dict[str, Any]]) -> float:
    """Return the longest gap of streams of text while what is *beside* them is answered."""

    def ask(path: str, body: dict[str, Any]) -> asyncio.Task[Heard]:
        return asyncio.create_task(stream(port, path, {"model": model, **body}))

    texts = [ask(_TEXT, completion([400 + number] * 20, TOKENS)) for number in range(STREAMS)]
    await ask(_TEXT, completion([500], 16))  # all of them decode by now
    others = [ask(path, body) for body in beside]
    await asyncio.gather(*others)
    if any(text.done() for text in texts):
        raise RuntimeError("a stream of text ended before what was beside it")
    return max(one.longest_gap for one in await asyncio.gather(*texts))


def main() -> None:
    """Print a line for each round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--side", type=int, default=224, help="pixels to a side")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    name = given.model.stem.lower()
    flags = {
        "--models-dir": given.model.absolute().parent,
        "--preload": name,
        "--parallel": STREAMS + PICTURES,
        "--context-length": 2048,
    }
    prompts, pictures = [], []
    with tempfile.TemporaryDirectory() as folder, serving(flags, Path(folder) / "log") as server:
        for number in range(given.rounds + 1):
            prompt = completion([600 + number * CHUNK + token for token in range(CHUNK)], 1)
            asked = [question(given.side, number * PICTURES + seed) for seed in range(PICTURES)]
            gaps = [
                asyncio.run(longest_gap(server.port, name, path, beside))
                for path, beside in ((_TEXT, [prompt]), (_CHAT, asked))
            ]
            if number:  # the first round is to warm up
                prompts.append(gaps[0])
                pictures.append(gaps[1])
                _print("round", number, *gaps)
    _print("median", "", statistics.median(prompts), statistics.median(pictures))


def _print(what: str, number: object, prompt: float, pictures: float) -> None:
    print(  # noqa: T201 - a command's output
        f"{what:<7}{number!s:<3} beside a prompt of {CHUNK} tokens {prompt:.3f} s"
        f"  beside {PICTURES} pictures {pictures:.3f} s  ratio {pictures / prompt:.2f}"
    )


if __name__ == "__main__":
    main()

"""Compare images with llama-server: first tokens of three questions on one picture, and answers.

    python -m benchmarks.seeing LLAMA_SERVER MODEL.gguf MMPROJ.gguf --threads 2 --side 224

The projector lies beside the model, where it is found by its name. Both servers get the same
requests, one after the other; pictures are noise, or with `--drawn` those that `spark` is tested
on, and greedy answers are compared.
"""

import argparse
import base64
import io
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.listening import free_port
from tools.spark.seeing import Example, held_out_examples

QUESTIONS = ("What is this?", "Which colour has it?", "Count them.")
_START = 60.0


class Answer(NamedTuple):
    """What a server wrote, and after how many seconds it began."""

    text: str
    first: float
    usage: dict[str, Any]


def picture(side: int, seed: int) -> str:
    """Return a picture of noise as a data URL."""
    rgb = random.Random(seed).randbytes(side * side * 3)  # noqa: S311 - a picture
    rows = (rgb[row * side * 3 : (row + 1) * side * 3] for row in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, chunks))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def data_url(example: Example) -> str:
    """Return the picture of *example* as a data URL."""
    file = io.BytesIO()
    example.picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    name, data = chunk
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def ask(port: int, model: str, content: Any, tokens: int) -> Answer:
    """Return the greedy answer to *content*, streamed."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    began, first, text, usage = time.perf_counter(), 0.0, "", {}
    with urllib.request.urlopen(request) as response:  # noqa: S310 - this machine
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            for choice in event.get("choices", ()):
                if piece := choice["delta"].get("content"):
                    first = first or time.perf_counter() - began
                    text += piece
    return Answer(text, first, usage)


@contextmanager
def serving(command: list[str], port: int) -> Iterator[None]:
    """Run a server, and wait until it answers."""
    log = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=log, stderr=log) as server:  # noqa: S603 - ours
        try:
            deadline = time.monotonic() + _START
            while time.monotonic() < deadline:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()


def main() -> None:
    """Parse the command line, ask, and print a row for each question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("llama_server", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("mmproj", type=Path)
    parser.add_argument("--threads", default=str(os.cpu_count()))
    parser.add_argument("--side", type=int, default=224, help="pixels to a side")
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--drawn", action="store_true", help="pictures of shapes and numbers")
    parser.add_argument("--tokens", type=int, default=8)
    asked = parser.parse_args()
    ours, theirs, name = free_port(), free_port(), asked.model.stem.lower()
    pilotlight = shutil.which("pilotlight", path=str(Path(sys.executable).parent)) or "pilotlight"
    models = ["--models-dir", str(asked.model.parent), "--threads", asked.threads]
    files = ["-m", str(asked.model), "--mmproj", str(asked.mmproj), "-t", asked.threads]
    with (
        serving([pilotlight, "serve", "--port", str(ours), *models], ours),
        serving([str(asked.llama_server), "--port", str(theirs), *files], theirs),
    ):
        rows = _rows(ours, theirs, name, asked)
    print(_table(rows))  # noqa: T201 - what it is for


def _table(rows: list[list[tuple[float, float, bool]]]) -> str:
    lines = [
        "| question | first token, ms | llama-server | ratio | of the first | equal answers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    columns = [tuple(zip(*row, strict=True)) for row in rows]
    begun = statistics.median(columns[0][0])
    for question, (mine, other, equal) in zip(QUESTIONS, columns, strict=True):
        ours, theirs = statistics.median(mine), statistics.median(other)
        lines.append(
            f"| {question} | {ours * 1000:.0f} | {theirs * 1000:.0f} | {ours / theirs:.2f} |"
            f" {ours / begun:.2f} | {statistics.mean(equal):.0%} |"
        )
    return "\n".join(lines)


def _rows(
    ours: int, theirs: int, name: str, asked: argparse.Namespace
) -> list[list[tuple[float, float, bool]]]:
    """Return for each question what each picture gave: both times, and whether answers agree."""
    rows: list[list[tuple[float, float, bool]]] = [[] for _ in QUESTIONS]
    count = asked.pictures + 1  # the first one is to warm up
    if asked.drawn:
        pictures = [data_url(example) for example in held_out_examples(count)]
    else:
        pictures = [picture(asked.side, seed) for seed in range(count)]
    for index, url in enumerate(pictures):
        image = {"type": "image_url", "image_url": {"url": url}}
        for row, question in zip(rows, QUESTIONS, strict=True):
            content = [image, {"type": "text", "text": question}]
            mine, other = (ask(port, name, content, asked.tokens) for port in (ours, theirs))
            if index:
                # llama-server leaves the line breaks after an empty thought in the answer.
                equal = mine.text.lstrip() == other.text.lstrip()
                row.append((mine.first, other.first, equal))
    return rows


if __name__ == "__main__":
    main()

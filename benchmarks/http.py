"""Compare what HTTP clients get from `pilotlight serve` with a bare loop over llama.cpp.

    python -m benchmarks.http model.gguf --streams 1 4 8 --tokens 48 --rounds 3

A server is started on the model, and for each count of streams rounds over HTTP and rounds of the
bare loop take turns: prompts of the same length, answers of the same length, the same context,
threads and samplers' cost. What is compared is everything between the client and the kernels:
HTTP, JSON, template, tokeniser, parsers, events, scheduling. The client shares the machine.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.decode import CONTEXT_LENGTH, BareLoop
from pilotlight.cli.bench.streams import RoundFigures, run_round

_PROMPT_WORDS = 8
"""Short, so that the bare loop takes all prompts in one batch."""


@contextmanager
def serving(path: Path, *, slots: int, threads: int) -> Iterator[str]:
    """Serve *path* on a free port; yield the API's base address once the model is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = {
        "--port": port,
        "--models-dir": path.parent,
        "--models-file": path.parent / "none.yaml",
        "--preload": path.stem,
        "--parallel": slots,
        "--threads": threads,
        "--context-length": CONTEXT_LENGTH,
    }
    command = [sys.executable, "-m", "pilotlight", "serve"]
    command += [str(part) for flag in flags.items() for part in flag]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_")}
    server = subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        _await_ready(f"http://127.0.0.1:{port}/readyz", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _await_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    while True:
        if server.poll() is not None:
            raise RuntimeError("the server ended")
        try:
            urllib.request.urlopen(url).close()  # noqa: S310 - an address of this machine
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return


async def _round(url: str, model: str, *, streams: int, tokens: int) -> RoundFigures:
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        return await run_round(
            client, model=model, streams=streams, prompt_words=_PROMPT_WORDS, max_tokens=tokens
        )


def compare(url: str, path: Path, *, streams: int, threads: int, tokens: int, rounds: int) -> None:
    """Print both rates, tokens a second over all streams, and the median of their ratios."""
    bare = BareLoop(path, streams=streams, threads=threads)
    http_rates: list[float] = []
    bare_rates: list[float] = []
    for turn in range(rounds + 1):  # the first is for warmth and is not counted
        figures = asyncio.run(_round(url, path.stem, streams=streams, tokens=tokens))
        length = figures.answers[0].prompt_tokens
        prompts = [tuple(range(turn + n, turn + n + length)) for n in range(streams)]
        http_rates.append(figures.tokens_per_second)
        bare_rates.append(streams * tokens / bare.generate(prompts, tokens))
    bare.close()
    pairs = list(zip(http_rates[1:], bare_rates[1:], strict=True))
    print(  # noqa: T201
        f"streams {streams}  prompt {length} tokens"
        f"  bare {statistics.median(bare_rates[1:]):8.1f} t/s"
        f"  http {statistics.median(http_rates[1:]):8.1f} t/s"
        f"  http/bare {statistics.median(http / loop for http, loop in pairs):.3f}",
        flush=True,
    )


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description="Compare HTTP with a bare loop.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with serving(arguments.path, slots=max(arguments.streams), threads=arguments.threads) as url:
        for streams in arguments.streams:
            compare(
                url,
                arguments.path,
                streams=streams,
                threads=arguments.threads,
                tokens=arguments.tokens,
                rounds=arguments.rounds,
            )


if __name__ == "__main__":
    main()

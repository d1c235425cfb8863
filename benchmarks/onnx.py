"""Compare the ONNX engine with a bare loop over ONNX Runtime GenAI's generators.

    python -m benchmarks.onnx weights/big-onnx --streams 1 2 --tokens 48 --rounds 3

Both decode the same prompts greedily with the same session options, in turns; the bare loop uses
the library's own search, and a thread for each stream. `one thread` is the engine over a session
with one thread (`threads: 1` in models.yaml), which shares the cores better among several streams
and leaves one idle under a single one. The last two ratios are to the engine's first count of
streams.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.decode import engine_seconds
from pilotlight_backend import LoadOptions, ModelFileInvalid, SamplingParams
from pilotlight_backend.cgroup import granted_cpus
from pilotlight_onnx.backend import OnnxBackend
from pilotlight_onnx.model import OnnxModel
from pilotlight_onnx.probe import read_config

CONTEXT_LENGTH = 1024
GREEDY = SamplingParams(temperature=0.0)
_PROMPT_TOKENS = 16

Prompts = list[tuple[int, ...]]


class BareLoop:
    """The least that generates with the library: no queue, no events, no errors."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self._model = OnnxModel(path, read_config(path), threads=threads)

    def generate(self, prompts: Prompts, tokens: int) -> float:
        """Answer each prompt with *tokens* tokens, each on a thread; return seconds."""
        streams = [
            threading.Thread(target=self._stream, args=(prompt, tokens)) for prompt in prompts
        ]
        start = time.perf_counter()
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join()
        return time.perf_counter() - start

    def _stream(self, prompt: tuple[int, ...], tokens: int) -> None:
        generator = self._model.open(len(prompt) + tokens)
        lib, pointer = self._model.lib, generator._pointer  # noqa: SLF001 - as bare as can be
        generator.append(prompt)
        for _ in range(tokens):
            lib.OgaGenerator_GenerateNextToken(pointer)
        generator.close()

    def close(self) -> None:
        """Free everything."""
        self._model.close()


def compare(path: Path, *, streams: list[int], threads: int, tokens: int, rounds: int) -> None:
    """Print the rates, tokens a second over all streams, and medians of ratios round by round."""
    backend = OnnxBackend()
    facts = backend.probe(path)
    if facts is None:
        raise ModelFileInvalid(path, "this is no ONNX Runtime GenAI folder")
    engine, single = (
        backend.load(
            facts,
            LoadOptions(
                parallel=max(streams), context_length=CONTEXT_LENGTH, threads=count, chunk=512
            ),
            lambda _progress: None,
        )
        for count in (threads, 1)
    )
    bare = BareLoop(path, threads=threads)
    ways: dict[str, Callable[[Prompts], float]] = {
        "bare": lambda prompts: bare.generate(prompts, tokens),
        "engine": lambda prompts: engine_seconds(engine, prompts, tokens, GREEDY),
        "one thread": lambda prompts: engine_seconds(single, prompts, tokens, GREEDY),
    }
    rates: dict[tuple[int, str], list[float]] = {
        (count, way): [] for count in streams for way in ways
    }
    for turn in range(rounds + 1):  # the first is for warmth and is not counted
        for count in streams:
            # New prompts each time: the engine would not evaluate again what it still holds.
            starts = (turn + _PROMPT_TOKENS * n for n in range(count))
            prompts = [tuple(range(start, start + _PROMPT_TOKENS)) for start in starts]
            for way, run in ways.items():
                rates[count, way].append(count * tokens / run(prompts))
    engine.close()
    bare.close()
    single.close()
    first = rates[streams[0], "engine"][1:]
    for count in streams:
        counted = {way: rates[count, way][1:] for way in ways}
        print(  # noqa: T201
            f"streams {count}",
            *(f"{way} {statistics.median(values):6.1f} t/s" for way, values in counted.items()),
            f"engine/bare {_ratio(counted['engine'], counted['bare']):.3f}",
            f"engine/one stream {_ratio(counted['engine'], first):.2f}",
            f"one thread/one stream {_ratio(counted['one thread'], first):.2f}",
            sep="  ",
            flush=True,
        )


def _ratio(ones: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description="Compare the ONNX engine with a bare loop.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=granted_cpus())
    arguments = parser.parse_args()
    compare(
        arguments.path,
        streams=arguments.streams,
        threads=arguments.threads,
        tokens=arguments.tokens,
        rounds=arguments.rounds,
    )


if __name__ == "__main__":
    main()

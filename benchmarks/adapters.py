"""Measure what adapters cost: a switch between two of them, a step, and memory.

    python -m benchmarks.adapters model.gguf [--rank 16] [--tokens 64]

Writes random adapters for the model beside it in a temporary folder. All figures are ratios to the
model without adapters, on one engine, so that a busy machine moves both.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

from benchmarks import random_lora
from pilotlight_backend import (
    Adapter,
    AdaptingEngine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    SamplingParams,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend

_STREAMS = 4
_PROMPT = 16


def seconds(engine: AdaptingEngine, sets: Sequence[tuple[Adapter, ...]], tokens: int) -> float:
    """Return how long streams with these adapters take side by side, without their prompts."""
    ended: SimpleQueue[EngineEvent] = SimpleQueue()

    def emit(event: EngineEvent) -> None:
        if isinstance(event, Finish | Failed):
            ended.put(event)

    for number, adapters in enumerate(sets):
        request = GenerateRequest(
            prompt=tuple(range(10 + number, 10 + number + _PROMPT)),
            max_tokens=tokens,
            sampling=SamplingParams(temperature=0.0),
            ignore_eos=True,
            adapters=adapters,
        )
        engine.submit(request, emit)
    last = [ended.get() for _ in sets]
    finished = [one for one in last if isinstance(one, Finish)]
    if len(finished) < len(sets):
        raise SystemExit(f"a request failed: {last}")
    return max(one.timings.decode for one in finished)


def resident() -> int:
    """Return this process's anonymous memory in bytes: the mapped weights do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    backend = LlamaCppBackend()
    facts = backend.probe(given.model)
    if facts is None:
        raise SystemExit(f"{given.model} is no GGUF model")
    options = LoadOptions(parallel=_STREAMS, context_length=512)
    engine = backend.load(facts, options, lambda _: None)
    if not isinstance(engine, AdaptingEngine):
        raise SystemExit("the model has no adapters")
    with tempfile.TemporaryDirectory() as folder:
        files = [
            random_lora.write(
                Path(folder, f"{number}.gguf"), given.model, rank=given.rank, seed=number,
                weights="F16",
            )
            for number in range(1, _STREAMS)
        ]  # fmt: skip
        seconds(engine, [()], 4)
        before, began = resident(), time.perf_counter()
        ids = [engine.load_adapter(path) for path in files]
        loading = (time.perf_counter() - began) / len(files)
        grown, size = resident() - before, sum(map(os.path.getsize, files))
    base, *adapters = [(), *((Adapter(one),) for one in ids)]
    first = adapters[0]
    cases = {
        "one stream with an adapter": ([base], [first]),
        "four streams of one adapter": ([base] * _STREAMS, [first] * _STREAMS),
        "two streams, base and adapter": ([base] * 2, [base, first]),
        "four streams, base and three adapters": ([base] * _STREAMS, [base, *adapters]),
    }
    print(f"{facts.path.name}, rank {given.rank}: time per token to the base's, same streams")  # noqa: T201
    for name, (plain, adapted) in cases.items():
        pairs = [
            (seconds(engine, plain, given.tokens), seconds(engine, adapted, given.tokens))
            for _ in range(given.rounds)
        ]
        ratio = min(one[1] for one in pairs) / min(one[0] for one in pairs)
        print(f"{name:40} {ratio:6.2f}")  # noqa: T201
    print(f"{'load of an adapter, seconds':40} {loading:6.3f}")  # noqa: T201
    print(f"{'memory of three adapters to their files':40} {grown / size:6.2f}")  # noqa: T201
    print(f"{'files of three adapters to the model':40} {size / facts.size_bytes:6.2f}")  # noqa: T201
    engine.close()


if __name__ == "__main__":
    main()

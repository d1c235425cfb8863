"""Compare n responses to one prompt with one response to each of n: what a shared prefill saves.

    python -m benchmarks.shared_prompt model.gguf --answers 4 --tokens 500 --rounds 3

One engine gets both in turn, each time with new prompts, and is timed from the first submit to the
last of the first tokens. The evaluated prompt tokens are printed too: llama.cpp copies the prefix
between slots, ONNX Runtime generates one response after the other in one slot.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from pilotlight_backend import (
    Backend,
    Engine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    ModelFileInvalid,
    SamplingParams,
    Token,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend

ANSWER = 8
"""Tokens of each response."""
_IDS = 256
"""Token ids that any vocabulary has."""


class Asked(NamedTuple):
    """Seconds to the last of the first tokens, and the prompt tokens that were evaluated."""

    seconds: float
    evaluated: int


def ask(engine: Engine, prompts: list[tuple[int, ...]], *, share: bool) -> Asked:
    """Generate for *prompts* together."""
    events: SimpleQueue[tuple[int, EngineEvent]] = SimpleQueue()

    def hear(number: int, event: EngineEvent) -> None:
        events.put((number, event))

    before = engine.stats().prompt_tokens
    began = time.perf_counter()
    for number, prompt in enumerate(prompts):
        request = GenerateRequest(
            prompt=prompt,
            max_tokens=ANSWER,
            sampling=SamplingParams(seed=number),
            ignore_eos=True,
            shares_prompt=share,
        )
        engine.submit(request, partial(hear, number))
    waiting, running = set(range(len(prompts))), len(prompts)
    seconds = 0.0
    while running:
        number, event = events.get()
        match event:
            case Token() if number in waiting:
                waiting.remove(number)
                seconds = time.perf_counter() - began
            case Finish():
                running -= 1
            case Failed():
                raise event.error
            case _:
                pass
    return Asked(seconds, engine.stats().prompt_tokens - before)


def prompt_of(number: int, tokens: int) -> tuple[int, ...]:
    """Return a prompt without a common prefix with any other."""
    return (number % _IDS, number // _IDS, *(index % _IDS for index in range(tokens - 2)))


def load(path: Path, *, answers: int, tokens: int, threads: int) -> Engine:
    """Load *path* with the backend that recognises it."""
    options = LoadOptions(parallel=answers, context_length=tokens + ANSWER, threads=threads)
    backends: tuple[Backend, ...] = (LlamaCppBackend(), OnnxBackend())
    for backend in backends:
        facts = backend.probe(path)
        if facts is not None:
            return backend.load(facts, options, lambda _progress: None)
    raise ModelFileInvalid(path, "no backend knows it")


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description="Compare n answers with n prompts.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    count, tokens = arguments.answers, arguments.tokens
    engine = load(arguments.path, answers=count, tokens=tokens, threads=arguments.threads)
    pairs: list[tuple[Asked, Asked]] = []
    for turn in range(arguments.rounds + 1):  # the first is a warm-up and is not counted
        new = turn * (count + 1)
        apart = [prompt_of(new + number, tokens) for number in range(count)]
        pairs.append(
            (
                ask(engine, [prompt_of(new + count, tokens)] * count, share=True),
                ask(engine, apart, share=False),
            )
        )
    engine.close()
    shared, separate = zip(*pairs[1:], strict=True)
    print(  # noqa: T201
        f"answers {count}  prompt {tokens} tokens"
        f"  evaluated: shared {shared[0].evaluated}  separate {separate[0].evaluated}"
        f"  last first token: shared {statistics.median(one.seconds for one in shared):.3f} s"
        f"  separate {statistics.median(one.seconds for one in separate):.3f} s"
        f"  separate/shared {statistics.median(b.seconds / a.seconds for a, b in pairs[1:]):.2f}"
    )


if __name__ == "__main__":
    main()

"""Time completions with and without drafts, in turns: an edit of a file, and texts without copies.

    python -m benchmarks.speculation                          # with the embedded model
    python -m benchmarks.speculation model.gguf --rounds 5 --threads 2

A script writes the completions, so that any model will do: a model with random weights takes as
long as a trained one of its size. The script restricts what is sampled, and not what is drafted.
The ratio of a round is that of two completions that follow each other; machines drift.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from msgspec import Struct

from pilotlight_backend import (
    Engine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    ModelFileInvalid,
    SamplingParams,
)
from pilotlight_backend.logits import Logits
from pilotlight_llama_cpp.backend import LlamaCppBackend

_TOKENS = 600


class Case(Struct, frozen=True):
    """A prompt, and the completion that is written."""

    prompt: Sequence[int]
    completion: Sequence[int]


class Script:
    """A guide that allows the next token of a completion alone."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = iter(tokens)

    def restrict(self, logits: Logits) -> None:
        """Allow the next token."""
        token = next(self._tokens)
        score = logits[token]
        logits[:] = -np.inf
        logits[token] = score

    def accept(self, token: int) -> None:
        """Advance: `restrict` has."""


class Cost(Struct, frozen=True):
    """What a completion took."""

    seconds: float
    steps: int
    drafted: int
    accepted: int


def cases(vocabulary: Sequence[int]) -> dict[str, Case]:
    """Return the cases, of the tokens in *vocabulary*.

    The edit changes four places of the file. The other texts share no token, or have only short
    matches, behind which nothing comes again; the least credulous drafter pays for none of them.
    """
    chance = random.Random(1)  # noqa: S311 - repeatable
    file = [chance.choice(vocabulary) for _ in range(_TOKENS)]
    edit = list(file)
    for place in (90, 240, 410, 550):
        edit[place : place + 2] = [chance.choice(vocabulary) for _ in range(3)]
    few = vocabulary[:12]
    nothing = chance.sample(vocabulary, min(_TOKENS, len(vocabulary) // 2) * 2)
    half = len(nothing) // 2
    return {
        "edit of a file": Case(file, edit),
        "nothing comes again": Case(nothing[:half], nothing[half:]),
        "short matches mislead": Case(
            [chance.choice(few) for _ in range(_TOKENS)],
            [chance.choice(few) for _ in range(_TOKENS)],
        ),
    }


def write(engine: Engine, case: Case) -> Cost:
    """Have *engine* write the completion of *case*; return its cost without the prompt's."""
    ended: SimpleQueue[Finish | Failed] = SimpleQueue()

    def hear(event: EngineEvent) -> None:
        if isinstance(event, Finish | Failed):
            ended.put(event)

    before = engine.stats().steps
    request = GenerateRequest(
        prompt=tuple(case.prompt),
        max_tokens=len(case.completion),
        sampling=SamplingParams(temperature=0.0),
        guide=Script(case.completion),
        ignore_eos=True,
    )
    engine.submit(request, hear)
    event = ended.get()
    if isinstance(event, Failed):
        raise event.error
    return Cost(
        event.timings.decode,
        engine.stats().steps - before,
        event.usage.drafted_tokens,
        event.usage.accepted_tokens,
    )


def load(path: Path, speculation: str, threads: int | None) -> Engine:
    """Load the model at *path*."""
    backend = LlamaCppBackend()
    facts = backend.probe(path)
    if facts is None:
        raise ModelFileInvalid(path, "it is no GGUF model")
    options = LoadOptions(
        parallel=1,
        context_length=2 * _TOKENS + 16,
        threads=threads,
        speculation="ngram" if speculation == "ngram" else "none",
    )
    engine = backend.load(facts, options, lambda _: None)
    if not isinstance(engine, Engine):
        raise ModelFileInvalid(path, "the model does not generate")
    return engine


def main() -> None:
    """Parse the command line, measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=LlamaCppBackend().embedded())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tokens", type=int, help="only so many tokens of each completion")
    given = parser.parse_args()
    if given.model is None:
        parser.error("the plugin is built without the embedded model; give one")
    engines = {name: load(given.model, name, given.threads) for name in ("none", "ngram")}
    size = len(engines["none"].vocabulary().pieces)
    for name, case in cases(range(size // 4, size)).items():
        shorter = Case(case.prompt, case.completion[: given.tokens])
        costs: dict[str, list[Cost]] = {speculation: [] for speculation in engines}
        for round_ in range(given.rounds + 1):
            for speculation, engine in engines.items():
                cost = write(engine, shorter)
                if round_:  # the first one is for warmth
                    costs[speculation].append(cost)
        sys.stdout.write(_line(name, costs["none"], costs["ngram"]))
        sys.stdout.flush()
    for engine in engines.values():
        engine.close()


def _line(name: str, plain: Sequence[Cost], drafted: Sequence[Cost]) -> str:
    ratios = [one.seconds / other.seconds for one, other in zip(drafted, plain, strict=True)]
    last = drafted[-1]
    return (
        f"{name:<24}{statistics.median(one.seconds for one in plain):>8.2f} s"
        f"{statistics.median(one.seconds for one in drafted):>8.2f} s"
        f"  ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        f"  steps {plain[-1].steps} → {last.steps}, accepted {last.accepted} of {last.drafted}\n"
    )


if __name__ == "__main__":
    main()

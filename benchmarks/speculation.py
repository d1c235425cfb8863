"""Time completions with and without drafts, in turns: edits of files, and texts without copies.

    python -m benchmarks.speculation                          # with the embedded model
    python -m benchmarks.speculation model.gguf --rounds 5 --threads 2
    python -m benchmarks.speculation model.gguf --draft small.gguf

A script writes the completions, so that any model will do: a model with random weights takes as
long as a trained one of its size. The script restricts what is sampled, and not what is drafted.
The ratio of a round is that of two completions that follow each other; machines drift.

With a draft model the completion is the model's own: a draft model knows no script.
"""

import argparse
import json
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
from pilotlight_backend.types import Speculation
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


def edits(engine: Engine) -> dict[str, Case]:
    """Return edits of texts: names in code, values in JSON, words in prose."""
    code = Path(__file__).read_text(encoding="utf-8")
    items: list[dict[str, object]] = [
        {"id": 100 + number, "name": f"item {number * 37 % 91}", "stock": number * 17 % 50}
        for number in range(40)
    ]
    fewer = [{**item, "stock": 0} if index % 4 == 0 else item for index, item in enumerate(items)]
    prose = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    texts = {
        "edit of code": (code, code.replace("vocabulary", "tokens").replace("given", "arguments")),
        "edit of JSON": (json.dumps(items, indent=1), json.dumps(fewer, indent=1)),
        "edit of prose": (prose, prose.replace("The ", "A ").replace("engine", "backend")),
    }
    return {
        name: Case(*(engine.tokenize(text, special=False)[:_TOKENS] for text in both))
        for name, both in texts.items()
    }


def write(engine: Engine, case: Case, *, own: bool = False) -> Cost:
    """Have *engine* write the completion of *case*; return its cost without the prompt's.

    *own*: it writes its own, of that length.
    """
    ended: SimpleQueue[Finish | Failed] = SimpleQueue()

    def hear(event: EngineEvent) -> None:
        if isinstance(event, Finish | Failed):
            ended.put(event)

    before = engine.stats().steps
    request = GenerateRequest(
        prompt=tuple(case.prompt),
        max_tokens=len(case.completion),
        sampling=SamplingParams(temperature=0.0),
        guide=None if own else Script(case.completion),
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


def load(path: Path, speculation: Speculation, threads: int | None, draft: Path | None) -> Engine:
    """Load the model at *path*, and *draft* to draft for it."""
    backend = LlamaCppBackend()
    facts = backend.probe(path)
    if facts is None:
        raise ModelFileInvalid(path, "it is no GGUF model")
    options = LoadOptions(
        parallel=1,
        context_length=2 * _TOKENS + 16,
        threads=threads,
        speculation=speculation,
        draft_model=draft if speculation == "draft" else None,
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
    parser.add_argument("--draft", type=Path, help="a model that drafts, in the place of n-grams")
    given = parser.parse_args()
    if given.model is None:
        parser.error("the plugin is built without the embedded model; give one")
    speculation: Speculation = "ngram" if given.draft is None else "draft"
    plain, drafting = (
        load(given.model, one, given.threads, given.draft) for one in ("none", speculation)
    )
    if given.draft is None:
        size = len(plain.vocabulary().pieces)
        chosen = cases(range(size // 4, size)) | edits(plain)
    else:
        chosen = {f"behind {name}": case for name, case in edits(plain).items()}
    for name, case in chosen.items():
        shorter = Case(case.prompt, case.completion[: given.tokens])
        _compare(name, shorter, plain, drafting, given.rounds, own=given.draft is not None)
    for engine in (plain, drafting):
        engine.close()


def _compare(
    name: str, case: Case, plain: Engine, drafting: Engine, rounds: int, *, own: bool
) -> None:
    """Measure a case in turns, and print its line."""
    costs = [
        (write(plain, case, own=own), write(drafting, case, own=own)) for _ in range(rounds + 1)
    ]
    # The first round is for warmth.
    sys.stdout.write(_line(name, *zip(*costs[1:], strict=True)))
    sys.stdout.flush()


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

"""Compare a greedy response alone and beside other requests: which numbers are equal to the bit.

    python -m benchmarks.rounding [--backend onnx] [--model FILE] [--prompt-tokens 100] [--fast]

An engine that has done nothing else generates for a prompt alone, and then beside other requests,
in slots that held something else, behind a cached prefix, and in chunks. Two responses that were
computed in steps of the same shapes must be equal to the bit, whatever the other requests and the
content of the cache: a difference there is a cell of another request, and exits with 1. Where
shapes differ, the table has the differences of the log probabilities, of the sampled tokens and of
the twenty likeliest beside each; and for comparison those of one wrong token in the prompt.
"""

import argparse
import queue
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from pilotlight_backend import (
    Backend,
    Engine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    SamplingParams,
    Token,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend

Numbers: TypeAlias = Sequence[tuple[int, float]]
"""Tokens with their log probabilities: each sampled one, and the likeliest beside it."""

_ANSWER, _CANDIDATES = 40, 20
_SLOTS, _CHUNK = 4, 512
_NONE = 0.0
_BACKENDS: dict[str, Callable[[], Backend]] = {"llama_cpp": LlamaCppBackend, "onnx": OnnxBackend}


class Asked:
    """A running request, and its events."""

    def __init__(self, engine: Engine, prompt: Sequence[int], tokens: int = _ANSWER) -> None:
        self._events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        request = GenerateRequest(
            prompt=tuple(prompt),
            max_tokens=tokens,
            ignore_eos=True,
            sampling=SamplingParams(temperature=0.0),
            logprobs=_CANDIDATES,
        )
        self._ticket = engine.submit(request, self._events.put)

    def next(self) -> EngineEvent:
        """Wait for the next event."""
        return self._events.get(timeout=60)

    def begun(self) -> "Asked":
        """Return after its first token: it decodes then."""
        while not isinstance(self.next(), Token):
            pass
        return self

    def cancel(self) -> None:
        """End it."""
        self._ticket.cancel()

    def numbers(self) -> Numbers:
        """Return all tokens; raises `RuntimeError` where the engine failed."""
        found: list[tuple[int, float]] = []
        while not isinstance(event := self.next(), Finish):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Token):
                found.append((event.id, event.logprob or _NONE))
                found += [(one.id, one.logprob) for one in event.candidates]
        return found


class Line(Struct, frozen=True):
    """One situation, and the numbers that must be equal to its own."""

    name: str
    numbers: Numbers
    shape: str
    """Equal where the steps have the same shapes."""


def largest_difference(one: Numbers, other: Numbers) -> float | None:
    """Return the largest difference of log probabilities; None where other tokens were sampled."""
    taken = slice(None, None, _CANDIDATES + 1)
    if [token for token, _ in one[taken]] != [token for token, _ in other[taken]]:
        return None
    found = 0.0
    for start in range(0, len(one), _CANDIDATES + 1):
        ours, theirs = (dict(each[start : start + _CANDIDATES + 1]) for each in (one, other))
        both = ours.keys() & theirs.keys()
        found = max(found, *(abs(ours[token] - theirs[token]) for token in both))
    return found


class Model(Struct, frozen=True):
    """A model at a *path*, and the backend that runs it."""

    backend: Backend
    path: Path
    deterministic: bool = True

    @contextmanager
    def loaded(self, *, chunk: int = _CHUNK) -> Iterator[Engine]:
        """Load it, and close it in the end."""
        facts = self.backend.probe(self.path)
        if facts is None:
            sys.exit(f"{self.path}: no model of {self.backend.name}")
        options = LoadOptions(
            parallel=_SLOTS, chunk=chunk, threads=1, deterministic=self.deterministic
        )
        engine = self.backend.load(facts, options, lambda _progress: None)
        try:
            if not isinstance(engine, Engine):
                sys.exit(f"{self.path}: a model that embeds")
            yield engine
        finally:
            engine.close()


def companies(model: Model, length: int) -> Iterator[Line]:
    """Yield the numbers of a prompt of so many tokens in every situation, alone first."""
    draw = random.Random(1)  # noqa: S311 - chosen for being repeatable

    def text(tokens: int) -> list[int]:
        return [draw.randrange(100, 500) for _ in range(tokens)]

    prompt, cut = text(length), length * 3 // 5
    others = [[text(length) for _ in range(_SLOTS - 1)] for _ in range(2)]

    with model.loaded() as engine:
        yield Line("alone", Asked(engine, prompt).numbers(), "whole")
    with model.loaded() as engine:
        for _ in range(2):
            for asked in [Asked(engine, text(2 * length), 90) for _ in range(_SLOTS)]:
                asked.numbers()
        yield Line("where others have been", Asked(engine, prompt).numbers(), "whole")
    for number, neighbours in enumerate(others, start=1):
        with model.loaded() as engine:
            running = [Asked(engine, one, 400).begun() for one in neighbours]
            yield Line(f"beside three ({number})", Asked(engine, prompt).numbers(), "four rows")
            for one in running:
                one.cancel()
    # An earlier prompt had the same prefix, or the chunks end there.
    for shape, beginning, cached in (
        ("1 + rest", prompt[:1], 1),
        (f"{cut} + rest", prompt[:cut], cut),
        (f"{length - 1} + 1", prompt, length - 1),
        (f"{length - 1} + 1", [*prompt, *text(30)], length - 1),
    ):
        with model.loaded() as engine:
            Asked(engine, beginning, 20 if len(beginning) >= length else 1).numbers()
            yield Line(
                f"behind {cached} of {len(beginning)}", Asked(engine, prompt).numbers(), shape
            )
    with model.loaded() as engine:
        for end in range(1, length):
            Asked(engine, prompt[:end], 1).numbers()
        yield Line("behind each in turn", Asked(engine, prompt).numbers(), "ones")
    for shape, chunk in (
        (f"{cut} + rest", cut),
        (f"{length - 1} + 1", length - 1),
        ("ones", 1),
        ("32s", 32),
    ):
        with model.loaded(chunk=chunk) as engine:
            yield Line(f"in chunks of {chunk}", Asked(engine, prompt).numbers(), shape)
    with model.loaded() as engine:
        wrong = [*prompt[:cut], text(1)[0], *prompt[cut + 1 :]]
        yield Line("with one token wrong", Asked(engine, wrong).numbers(), "control")


def main() -> None:
    """Print the table, and exit with 1 where equal shapes gave other numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=sorted(_BACKENDS), default="llama_cpp")
    parser.add_argument("--model", type=Path, help="by default `spark`")
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--fast", action="store_true", help="without `deterministic`")
    given = parser.parse_args()
    backend = _BACKENDS[given.backend]()
    path: Path | None = given.model or backend.embedded()
    if path is None:
        sys.exit(f"{given.backend} has no model of its own: --model")
    first: dict[str, Line] = {}
    wrong = False
    sys.stdout.write(f"{'company':<26}{'steps':<14}{'from alone':>12}\n")
    for line in companies(Model(backend, path, not given.fast), given.prompt_tokens):
        alone = first.setdefault("whole", line)
        same = first.setdefault(line.shape, line)
        difference = largest_difference(line.numbers, alone.numbers)
        told = "other tokens" if difference is None else f"{difference:12.1e}"
        equal = line.numbers == same.numbers
        wrong |= not equal
        remark = "" if equal else f"   not what there was {same.name}"
        sys.stdout.write(f"{line.name:<26}{line.shape:<14}{told}{remark}\n")
    sys.exit(wrong)


if __name__ == "__main__":
    main()

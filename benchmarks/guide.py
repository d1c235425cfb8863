"""Time what a guide adds to a step: restricting a row of scores, and taking the token that came.

    python -m benchmarks.guide                          # over a vocabulary of 150,000 tokens
    python -m benchmarks.guide model.gguf --tokens 48 --rounds 5

With a model it also answers with and without a guide, in turns, and prints the ratio of a step's
times. A random model's tokens are as good as any: what is allowed does not depend on them.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from benchmarks.decode import load_engine
from pilotlight.guidance import (
    Grammar,
    GuideTokenizer,
    JsonObject,
    JsonSchema,
    LazyGrammar,
    OneOf,
    Reasoning,
    Regex,
    compile_grammar,
    supported,
)
from pilotlight.output.reasoning import ReasoningTracker
from pilotlight.output.tool_calls import FORMATS, Function
from pilotlight_backend import (
    Engine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    Guide,
    SamplingParams,
    Vocabulary,
)

SIZE = 150_000
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_MARKS = (
    '"',
    '":',
    '",',
    '{"',
    '"}',
    "}",
    "},",
    "[",
    "]",
    ": ",
    ", ",
    "\n",
    "\n  ",
    "  ",
    ".",
    "_",
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "born": {"type": "string", "format": "date"},
        "kind": {"enum": ["guest", "member", "staff"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
PEOPLE = {"type": "array", "items": PERSON, "minItems": 3, "maxItems": 6}
FREE = LazyGrammar(
    FORMATS["hermes"].lazy_grammar(
        [Function(f"look_up_{number}", supported(PERSON)) for number in range(20)],
        parallel=True,
        closer="</think>",
    ),
    lambda: ReasoningTracker("think", opened=False),
)
"""Text beside twenty tools that it may call."""
ENDLESS = {"type": "array", "items": PERSON, "minItems": 10_000}
GRAMMARS = {
    "object": Grammar(content=JsonSchema(PERSON)),
    "list of objects": Grammar(content=JsonSchema(PEOPLE)),
    "any object": Grammar(content=JsonObject()),
    "expression": Grammar(content=Regex(r"[A-Z][a-z]{2,20}(, [a-z]{1,20}){3,9}\.")),
    "choice": Grammar(content=OneOf(("positive", "negative", "neutral"))),
    "free, 20 tools": Grammar(lazy=FREE),
    "thought, object": Grammar(
        content=JsonSchema(PERSON),
        reasoning=Reasoning(opener="<think>", closer="</think>", opened=True),
    ),
}


def make_vocabulary(seed: int = 1) -> Vocabulary:
    """Return tokens like those of a byte-level BPE: bytes, words, marks of code, other scripts."""
    chance = random.Random(seed)  # noqa: S311 - the same tokens each time
    pieces = {bytes([byte]): None for byte in range(256)}
    while len(pieces) < SIZE - 2:
        word = "".join(chance.choices(_LETTERS, k=chance.randint(1, 9)))
        kind = chance.random()
        if kind < 0.1:  # noqa: PLR2004 - shares, roughly those of Qwen3's
            word = "".join(chance.choices([chr(c) for c in range(0x4E00, 0x9000)], k=2))
        elif kind < 0.15:  # noqa: PLR2004
            word = chance.choice(_MARKS) + word[:2]
        elif kind < 0.25:  # noqa: PLR2004
            word = word.capitalize()
        pieces[(" " * (chance.random() < 0.5) + word).encode()] = None  # noqa: PLR2004
    return Vocabulary((*pieces, b"</think>", b"<|im_end|>"), frozenset({SIZE - 1}))


def steps(guide: Guide, size: int, closing: list[int], seed: int) -> list[tuple[float, float]]:
    """Return the seconds of each step of one answer, to restrict and to accept."""
    chance = np.random.default_rng(seed)
    taken = []
    for _ in range(400):
        logits = chance.normal(0, 2, size).astype(np.float32)
        logits[closing] += 12
        start = time.perf_counter()
        guide.restrict(logits)
        restricted = time.perf_counter()
        token = int(logits.argmax())
        chosen = time.perf_counter()
        guide.accept(token)
        taken.append((restricted - start, time.perf_counter() - chosen))
        if token == closing[-1]:
            break
    return taken


def time_steps() -> None:
    """Print what a vocabulary, each grammar and its steps take."""
    vocabulary = make_vocabulary()
    start = time.perf_counter()
    tokens = GuideTokenizer.of(vocabulary)
    made = time.perf_counter() - start
    _say(f"{len(vocabulary.pieces)} tokens made in {made:.3f} s")
    closing = [*b'"}],.', SIZE - 2, SIZE - 1]
    for name, grammar in GRAMMARS.items():
        start = time.perf_counter()
        guides = compile_grammar(grammar, tokens)
        compiled = time.perf_counter() - start
        answers = [steps(guides(), SIZE, closing, seed) for seed in range(8)]
        restrict, accept = zip(*(step for answer in answers for step in answer), strict=True)
        both = [one + other for one, other in zip(restrict, accept, strict=True)]
        _say(
            f"{name:16} compile {compiled * 1e3:6.1f} ms  restrict {_micro(restrict):6.0f} us"
            f"  accept {_micro(accept):5.1f} us  step {_micro(both):6.0f} us"
            f"  slowest {max(both) * 1e6:6.0f} us  of {len(both)} steps"
        )


def answer_seconds(
    engine: Engine, prompt: tuple[int, ...], tokens: int, guide: Guide | None
) -> float:
    """Answer *prompt* with *tokens* tokens; return the seconds of its decoding."""
    ended: SimpleQueue[Finish | Failed] = SimpleQueue()

    def hear(event: EngineEvent) -> None:
        if isinstance(event, Finish | Failed):
            ended.put(event)

    sampling = SamplingParams(temperature=1.0, top_p=0.95, top_k=64, seed=7)
    engine.submit(
        GenerateRequest(
            prompt=prompt, max_tokens=tokens, sampling=sampling, ignore_eos=True, guide=guide
        ),
        hear,
    )
    match ended.get():
        case Finish(timings=timings):
            return timings.decode
        case Failed(error):
            raise error


def compare(path: Path, *, tokens: int, rounds: int, threads: int) -> None:
    """Print the time of a step with and without a guide, and the median of their ratios."""
    engine = load_engine(path, streams=1, threads=threads)
    made = GuideTokenizer.of(engine.vocabulary())
    grammars = {
        "nothing": Grammar(),
        "tools": Grammar(lazy=FREE),
        "list": Grammar(content=JsonSchema(ENDLESS)),
    }
    guides: dict[str, Callable[[], Guide]] = {
        name: compile_grammar(grammar, made) for name, grammar in grammars.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("none", *guides)}
    for turn in range(rounds + 1):  # the first is for warmth and is not counted
        prompt = tuple(range(turn, turn + 16))
        seconds["none"].append(answer_seconds(engine, prompt, tokens, None))
        for name, make in guides.items():
            seconds[name].append(answer_seconds(engine, prompt, tokens, make()))
    engine.close()
    for name in guides:
        pairs = zip(seconds[name][1:], seconds["none"][1:], strict=True)
        ratio = statistics.median(guided / free for guided, free in pairs)
        step = statistics.median(seconds[name][1:]) / (tokens - 1)
        _say(f"guide {name:8} step {step * 1e3:7.2f} ms  guided/free {ratio:.3f}")


def _micro(seconds: tuple[float, ...] | list[float]) -> float:
    return statistics.median(seconds) * 1e6


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description="Time what a guide adds to a step.")
    parser.add_argument("path", type=Path, nargs="?", help="a GGUF model to compare with")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    time_steps()
    if arguments.path is not None:
        compare(
            arguments.path,
            tokens=arguments.tokens,
            rounds=arguments.rounds,
            threads=arguments.threads,
        )


if __name__ == "__main__":
    main()

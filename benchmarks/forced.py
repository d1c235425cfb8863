"""Count and time the steps of tool calls and JSON, with forced tokens and with each one sampled.

    python -m benchmarks.forced                      # with the embedded model
    python -m benchmarks.forced model.gguf --rounds 5

A script writes the outputs in the spelling of the model's tokenizer, so that any model will do: a
model with random weights takes as long as a trained one of its size.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from msgspec import Struct

from benchmarks.decode import load_engine
from benchmarks.guide import PERSON
from pilotlight.guidance import Grammar, Guides, GuideTokenizer, JsonSchema, compile_grammar
from pilotlight.guidance import supported as schema_of
from pilotlight.output.tool_calls import FORMATS, Function
from pilotlight_backend import (
    Engine,
    EngineEvent,
    Failed,
    Finish,
    Forced,
    ForcingGuide,
    GenerateRequest,
    SamplingParams,
    Token,
)
from pilotlight_backend.logits import Logits
from pilotlight_llama_cpp.backend import LlamaCppBackend

WEATHER = {
    "type": "object",
    "properties": {
        "location": {"type": "string"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["location", "unit"],
}


class Output(Struct, frozen=True):
    """A text, and the grammar that it matches."""

    grammar: Grammar
    text: str


def _call(name: str, parameters: dict[str, object], text: str) -> Output:
    function = Function(name, schema_of(parameters))
    return Output(Grammar(calls=FORMATS["hermes"].grammar([function], parallel=False)), text)


OUTPUTS = {
    "call, 2 arguments": _call(
        "get_current_weather",
        WEATHER,
        '<tool_call>\n{"name": "get_current_weather", "arguments": {"location": "Paris", '
        '"unit": "celsius"}}\n</tool_call>',
    ),
    "call, 3 arguments": _call(
        "look_up_person",
        PERSON,
        '<tool_call>\n{"name": "look_up_person", "arguments": {"name": "Ann", "age": 36, '
        '"kind": "member"}}\n</tool_call>',
    ),
    "object": Output(
        Grammar(content=JsonSchema(PERSON)),
        '{"name": "Ann", "age": 36, "born": "1988-04-12", "kind": "member"}',
    ),
}


class Script:
    """Restricts a guide further: to *tokens*, which match its grammar. It forces nothing."""

    def __init__(self, guide: ForcingGuide, tokens: Sequence[int]) -> None:
        self.guide = guide
        self.sampled = 0
        self._tokens = tokens
        self._accepted = 0

    def restrict(self, logits: Logits) -> None:
        """Allow the next token of the script, or what the guide allows behind it."""
        self.guide.restrict(logits)
        self.sampled += 1
        if self._accepted < len(self._tokens):
            token = self._tokens[self._accepted]
            score = logits[token]
            logits[:] = -np.inf
            logits[token] = score

    def accept(self, token: int) -> None:
        """Advance by *token*."""
        if self._accepted < len(self._tokens) and token != self._tokens[self._accepted]:
            raise ValueError(f"token {token} is not the script's next one")
        self._accepted += 1
        self.guide.accept(token)


class ForcingScript(Script):
    """A script that forces what its guide forces."""

    def forced(self) -> Forced:
        """Return what the guide forces."""
        return self.guide.forced()

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* the guide admits."""
        return self.guide.admits(tokens)


class Cost(Struct, frozen=True):
    """What an output took."""

    text: bytes
    tokens: int
    steps: int
    seconds: float


def write(
    engine: Engine,
    output: Output,
    guides: Guides,
    *,
    forced: bool,
    logprobs: int | None = None,
    start: str = "<|im_start|>assistant\n",
) -> Cost:
    """Have *engine* write *output* behind *start*; return its cost without the prompt's step."""
    ended: SimpleQueue[Finish | Failed] = SimpleQueue()
    pieces: list[bytes] = []

    def hear(event: EngineEvent) -> None:
        match event:
            case Token(piece=piece):
                pieces.append(piece)
            case Finish() | Failed():
                ended.put(event)

    kind = ForcingScript if forced else Script
    guide = kind(guides(), engine.tokenize(output.text, special=True))
    before = engine.stats().steps
    engine.submit(
        GenerateRequest(
            prompt=tuple(engine.tokenize(start, special=True)),
            max_tokens=500,
            sampling=SamplingParams(temperature=0),
            guide=guide,
            logprobs=logprobs,
        ),
        hear,
    )
    match ended.get():
        case Finish(usage=usage, timings=timings):
            steps = engine.stats().steps - before - 1
            return Cost(b"".join(pieces), usage.completion_tokens, steps, timings.decode)
        case Failed(error):
            raise error


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description="Time outputs with and without forced tokens.")
    parser.add_argument("path", type=Path, nargs="?", help="a GGUF model; default: the embedded")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    path = arguments.path or LlamaCppBackend().embedded()
    engine = load_engine(path, streams=1, threads=arguments.threads)
    tokenizer = GuideTokenizer.of(engine.vocabulary())
    for name, output in OUTPUTS.items():
        guides = compile_grammar(output.grammar, tokenizer)
        pairs = [
            tuple(write(engine, output, guides, forced=forced) for forced in (False, True))
            for _ in range(arguments.rounds + 1)
        ][1:]  # the first is for warmth and is not counted
        sampled, forced = pairs[0]
        ratio = statistics.median(after.seconds / before.seconds for before, after in pairs)
        sys.stdout.write(
            f"{name:18} {sampled.tokens:3} tokens  {sampled.steps:3} steps sampled"
            f"  {forced.steps:3} forced  seconds {ratio:.2f}\n"
        )
    engine.close()


if __name__ == "__main__":
    main()

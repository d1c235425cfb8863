"""Ask random conversations of an engine with a prompt cache, and compare with a fresh one.

    python -m tests.fuzz.prompt_cache [ARCHITECTURE …] --steps 200 --seed 1

Conversations continue, branch, repeat and are cancelled, in several scopes and some at once.
Between them prompts are cleared and saved, and the engine is loaded anew. After each step the
greedy tokens are those of an engine without a cache, and the engine's record of its slots and of
its memory is right.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import random_families
from pilotlight_backend import (
    Candidate,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    PromptCacheOptions,
    SamplingParams,
    Started,
    Token,
)
from pilotlight_llama_cpp import context_lengths
from pilotlight_llama_cpp.backend import LlamaCppBackend

ARCHITECTURES = (
    "qwen3", "gemma3", "gpt-oss", "qwen35", "lfm2", "falcon-h1", "mamba", "rwkv7", "deepseek2",
    "gemma4", "llama4",
)  # fmt: skip
ROUNDS = {"gpt-oss", "gemma3", "gemma4"}
"""Architectures whose answers may part where two tokens are as likely as each other.

gpt-oss rounds by how a prompt is cut into chunks, also without a cache: of these weights, the log
probability of a first token differs by 0.04, with others in its batch by more. A window that is
restored takes other cells than one that was computed, so attention adds it up in another order:
about one answer in a hundred of these quantized weights then has log probabilities that differ by
0.005 to 0.03, and the others have the same to the bit."""
NEAR_TIE = 0.2
"""How much less likely than the fresh engine's token one may be that rounding prefers."""
SLOTS = 3
CONTEXT = 2048
"""Twice what a growing context has first."""
LONGEST = 1300
MEMORY = 6_000_000
"""Bytes: a few conversations of the smaller kinds, one of a recurrent one."""
SCOPES = ("", "one", "two", "two\0salt")
DEADLINE = 120.0


class Mismatch(Exception):
    """The engine did what it must not."""


class Answer:
    """One request, and what came of it."""

    def __init__(self, engine: Any, prompt: Sequence[int], tokens: int, **options: Any) -> None:
        self.prompt = tuple(prompt)
        self.cached = 0
        self.tokens: list[int] = []
        self.candidates: list[Sequence[Candidate]] = []
        self.last: Finish | Failed | None = None
        self._ended = threading.Event()
        self.ticket = engine.submit(
            GenerateRequest(
                prompt=self.prompt,
                max_tokens=tokens,
                sampling=SamplingParams(temperature=0.0),
                ignore_eos=True,
                **options,
            ),
            self._hear,
        )

    def _hear(self, event: Any) -> None:
        match event:
            case Started():
                self.cached = event.cached_tokens
            case Token():
                self.tokens.append(event.id)
                self.candidates.append(event.candidates)
            case Finish() | Failed():
                self.last = event
                self._ended.set()

    def wait(self) -> "Answer":
        """Wait until it ended; raises `Mismatch` where it failed."""
        if not self._ended.wait(DEADLINE):
            raise Mismatch("a request did not end")
        if isinstance(self.last, Failed):
            raise Mismatch(f"a request failed: {self.last.error}")
        return self

    @property
    def was_cancelled(self) -> bool:
        """Whether it ended before its answer did."""
        return isinstance(self.last, Finish) and self.last.reason == "cancelled"


class Totals(NamedTuple):
    """What was asked, and how much of it the caches had."""

    answers: int
    different: int
    prompt_tokens: int
    cached_tokens: int
    memory_hits: int
    storage_hits: int
    grown: int
    """Engines whose context was longer at their end than at their start."""


class Fuzz:
    """One model with a cache, and one without."""

    def __init__(
        self, path: Path, folder: Path, seed: int, *, memory: int = MEMORY, rounds: bool = False
    ) -> None:
        """With *rounds* an answer that parts at a near tie is counted, and no `Mismatch`."""
        self._path = path
        self._rounds = rounds
        self._options = PromptCacheOptions(memory_bytes=memory, storage=str(folder))
        self._chance = random.Random(seed)  # noqa: S311 - cases, the same each time
        self._threads = set(threading.enumerate())
        # With a cache as well, so that prompts are cut at the same branches; it is kept empty.
        self._fresh = self._load(prompt_cache=PromptCacheOptions(memory_bytes=memory))
        self.engine = self._load(prompt_cache=self._options)
        self._first_length = self.engine._context._context.length
        (self._start,) = self._fresh.tokenize("<|im_start|>", special=True)
        (self._end,) = self._fresh.tokenize("<|im_end|>", special=True)
        self._histories = [self._turn(150)]
        self._hits = [0, 0]
        self._grown = 0
        self._answers = self._different = self._asked = self._cached = 0

    def _load(self, **options: Any) -> Any:
        backend = LlamaCppBackend()
        return backend.load(
            backend.probe(self._path),
            LoadOptions(parallel=SLOTS, context_length=CONTEXT, deterministic=True, **options),
            lambda _: None,
        )

    def _turn(self, length: int) -> list[int]:
        text = [self._chance.randrange(20, 250) for _ in range(length)]
        return [self._start, *text, self._end]

    # ── steps ──────────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """Do one thing, and look at what it left."""
        doing = self._chance.random()
        if doing < 0.03:
            self.engine.clear_prompts(self._chance.choice(["one", "two", None]))
        elif doing < 0.10:
            self.engine.save_prompts(30)
        elif doing < 0.14:
            self._reload()
        else:
            self._ask()
        self.check()

    def _prompt(self) -> list[int]:
        history = self._chance.choice(self._histories[-8:])
        doing = self._chance.random()
        if doing < 0.3:  # another branch
            history = history[: self._chance.randrange(len(history))]
        elif doing < 0.4:  # the same again
            return [*history[: LONGEST - 1], self._start]
        length = self._chance.choice([3, 10, 40, 40, 200])
        prompt = [*history, *self._turn(length)]
        return [*prompt[: LONGEST - 1], self._start]

    def _ask(self) -> None:
        chance = self._chance
        shared = chance.random() < 0.2
        if shared:
            prompts = [self._prompt()] * 3
        else:
            prompts = [self._prompt() for _ in range(chance.choice([1, 1, 2, 4]))]
        scope = chance.choice(SCOPES)
        tokens = chance.choice([1, 6, 6, 20])
        answers = []
        for prompt in prompts:
            scope = scope if shared else chance.choice(SCOPES)
            answers.append(Answer(self.engine, prompt, tokens, scope=scope, shares_prompt=shared))
        if chance.random() < 0.25:
            time.sleep(chance.random() * 0.01)
            for answer in answers:
                if chance.random() < 0.6:
                    answer.ticket.cancel()
        if chance.random() < 0.05:
            self.engine.clear_prompts(chance.choice(["one", "two", None]))
        for answer in answers:
            self._compare(answer.wait(), tokens)

    def _compare(self, answer: Answer, tokens: int) -> None:
        self._fresh.clear_prompts()
        expected = Answer(self._fresh, answer.prompt, tokens).wait().tokens
        if answer.was_cancelled:
            expected = expected[: len(answer.tokens)]
        self._different += answer.tokens != expected
        if answer.tokens != expected and not (self._rounds and self._is_tie(answer, expected)):
            raise Mismatch(
                f"{len(answer.prompt)} tokens, {answer.cached} cached: {answer.tokens} and not"
                f" {expected}"
            )
        self._answers += 1
        self._asked += len(answer.prompt)
        self._cached += answer.cached
        self._histories.append([*answer.prompt, *answer.tokens[2:], self._end])

    def _is_tie(self, answer: Answer, expected: Sequence[int]) -> bool:
        """Whether both tokens at which they part are nearly as likely in the fresh engine."""
        pairs = enumerate(zip(answer.tokens, expected, strict=False))
        parted = next((at for at, (ours, theirs) in pairs if ours != theirs), None)
        if parted is None:  # one of them is shorter
            return False
        self._fresh.clear_prompts()
        again = Answer(self._fresh, answer.prompt, parted + 1, logprobs=20).wait()
        likely = {each.id: each.logprob for each in again.candidates[parted]}
        ours, theirs = answer.tokens[parted], expected[parted]
        return ours in likely and likely[theirs] - likely[ours] <= NEAR_TIE

    def _reload(self) -> None:
        if self._chance.random() < 0.8:
            self.engine.save_prompts(30)
        self.close_engine()
        self.engine = self._load(prompt_cache=self._options)

    # ── what holds after each step ─────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Raise `Mismatch` where what the engine believes is not so."""
        self._check_slots()
        self._check_memory()

    def _check_slots(self) -> None:
        thread, context = self.engine._thread, self.engine._context
        deadline = time.monotonic() + DEADLINE
        while thread._scheduler.admission.active or thread._under_way:
            if time.monotonic() > deadline:
                raise Mismatch("the engine does not come to rest")
            time.sleep(0.001)
        for slot in thread._scheduler.admission.slots:
            held = context._context.held(slot.id)
            if held != len(slot.held):
                raise Mismatch(f"slot {slot.id} has {held} tokens and not {len(slot.held)}")
            if slot.is_cleared or slot.sequence is not None:
                raise Mismatch(f"slot {slot.id} is not given back")

    def _check_memory(self) -> None:
        cache = self.engine._cache
        with cache._lock:
            states = cache._states
            entries = list(states.index)
            sizes = sum(one.snapshot.size for one in entries if one.snapshot is not None)
            if not sizes == states.memory <= self._options.memory_bytes:
                raise Mismatch(f"{states.memory} bytes are accounted for {sizes}")
            for one in entries:
                kept = one.snapshot
                if kept is not None and one.checkpoints != tuple(
                    each.tokens for each in kept.checkpoints
                ):
                    raise Mismatch("an entry has checkpoints that its state has not")
                if kept is None and one.file is None and one not in states.saving:
                    raise Mismatch("an entry has no state")
            found = {one for here in states.index._at.values() for one in here}
            if found != set(entries):
                raise Mismatch(f"the index finds {len(found)} of {len(entries)} entries")

    def close_engine(self) -> None:
        """Close the engine with the cache, and count what it had."""
        stats = self.engine.stats().prompt_cache
        self._hits[0] += stats.memory_hits
        self._hits[1] += stats.storage_hits
        self._grown += self.engine._context._context.length > self._first_length
        self.engine.close()

    def close(self) -> Totals:
        """Close both engines; raises `Mismatch` if a thread is left."""
        self.close_engine()
        self._fresh.close()
        deadline = time.monotonic() + DEADLINE
        while left := set(threading.enumerate()) - self._threads:
            if time.monotonic() > deadline:
                raise Mismatch(f"threads are left: {sorted(one.name for one in left)}")
            time.sleep(0.01)
        return Totals(
            self._answers, self._different, self._asked, self._cached, *self._hits, self._grown
        )


def run(
    path: Path, folder: Path, *, steps: int, seed: int, memory: int = MEMORY, rounds: bool = False
) -> Totals:
    """Do so many steps; raises `Mismatch` with the step's number."""
    fuzz = Fuzz(path, folder, seed, memory=memory, rounds=rounds)
    try:
        for number in range(steps):
            try:
                fuzz.step()
            except Mismatch as error:
                raise Mismatch(f"step {number} of seed {seed}: {error}") from None
    finally:
        totals = fuzz.close()
    return totals


def main() -> int:
    """Run the fuzz for each architecture, and return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=MEMORY)
    parser.add_argument(
        "--first-context",
        type=int,
        default=context_lengths.SHORT,
        help="tokens of a slot in the first context; with 256 most engines grow",
    )
    arguments = parser.parse_args()
    context_lengths.SHORT = arguments.first_context
    failed = 0
    for architecture in arguments.architectures:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = random_families.write(folder / f"{architecture}.gguf", architecture)
            began = time.monotonic()
            totals: Any
            try:
                totals = run(
                    path,
                    folder / "states",
                    steps=arguments.steps,
                    seed=arguments.seed,
                    memory=arguments.memory,
                    rounds=architecture in ROUNDS,
                )
            except Mismatch as error:
                totals, failed = error, 1
            print(f"{architecture}: {totals} in {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(main())

"""Train spark: a fixed number of steps on data drawn from a seed, on two CPU threads.

First one long course whose rate falls in a straight line to nothing; from its middle on the data
has more of what is learned last. Then a short course at a low rate, with more of what is still weak
among all the rest. What is weak gains by it and the rest loses a little, so the weights that count
lie between the ends of the two.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from tools.spark.conversations import LAST_MIX, LATE_MIX, MIX, Mix, completion, training_samples
from tools.spark.model import Shape, Spark, new_model, save_model
from tools.spark.muon import Muon
from tools.spark.prompt import prompt_of
from tools.spark.tokenizer import END_OF_TEXT, TURN_END, train_tokenizer
from tools.spark.turn import Sample

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Phase:
    """The data of some steps; ``steps`` and never the clock, so that a run can be repeated."""

    seed: int
    steps: int
    mix: Mix


@dataclass(frozen=True, slots=True)
class Course:
    """Phases under one falling rate, which starts at *rate* of the full one."""

    phases: tuple[Phase, ...]
    rate: float = 1.0


COURSES = (
    Course((Phase(seed=1, steps=4000, mix=MIX), Phase(seed=3, steps=4000, mix=LATE_MIX))),
    Course((Phase(seed=5, steps=500, mix=LAST_MIX),), rate=0.25),
)

_LAST_SHARE = 0.75
"""Of the last course's weights in the mean of the last two."""

_MATRIX_RATE = 0.02
_OTHER_RATE = 0.004
_WARMUP = 60
_LAST_RATE = 0.01
_TOKENS_PER_STEP = 2560
_BUCKET_SAMPLES = 2_000
_MODEL_SEED = 1
_TOKENIZER_SEED = 2
_TOKENIZER_SAMPLES = 20_000
_SAVE_EVERY = 300


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample as tokens, of which the first ``given`` are the prompt."""

    tokens: list[int]
    given: int


def end_token(sample: Sample) -> str:
    """Return the token that ends the answer of ``sample``."""
    return TURN_END if sample.prompt is None else END_OF_TEXT


def encode(tokenizer: Tokenizer, sample: Sample) -> Encoded:
    """Encode prompt and answer apart, as they meet when the model is served."""
    given = tokenizer.encode(prompt_of(sample)).ids
    written = tokenizer.encode(completion(sample) + end_token(sample)).ids
    return Encoded(given + written, len(given))


def _batch(samples: list[Encoded]) -> tuple[Tensor, Tensor]:
    longest = max(len(sample.tokens) for sample in samples)
    tokens = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full((len(samples), longest), IGNORED)
    for row, sample in enumerate(samples):
        length = len(sample.tokens)
        tokens[row, :length] = torch.tensor(sample.tokens)
        # The label of a position is the token after it; only the answer is learned.
        labels[row, sample.given - 1 : length - 1] = torch.tensor(sample.tokens[sample.given :])
    return tokens, labels


def batches(tokenizer: Tokenizer, phase: Phase) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens and labels, right-padded, samples of like length together, in random order.

    At most ``_TOKENS_PER_STEP`` tokens each, padding included.
    """
    order = torch.Generator().manual_seed(phase.seed)
    limit = Shape().max_position_embeddings
    samples = training_samples(phase.seed, phase.mix)
    while True:
        bucket = [encode(tokenizer, sample) for sample in islice(samples, _BUCKET_SAMPLES)]
        bucket = sorted(
            (sample for sample in bucket if len(sample.tokens) <= limit),
            key=lambda sample: len(sample.tokens),
        )
        groups: list[list[Encoded]] = [[]]
        for sample in bucket:
            if (len(groups[-1]) + 1) * len(sample.tokens) > _TOKENS_PER_STEP:
                groups.append([])
            groups[-1].append(sample)
        for index in torch.randperm(len(groups), generator=order).tolist():
            yield _batch(groups[index])


def _loss(model: Spark, tokens: Tensor, labels: Tensor) -> Tensor:
    hidden, _ = model(tokens)
    learned = labels != IGNORED
    return functional.cross_entropy(model.logits(hidden[learned]), labels[learned])


def _optimizers(model: Spark, share: float) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.layers.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1] + [model.embed_tokens.weight]
    return [
        Muon(matrices, lr=share * _MATRIX_RATE),
        torch.optim.AdamW(others, lr=share * _OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(step: int, steps: int) -> float:
    # Up over the warm-up, then down in a straight line to a small rest.
    if step < _WARMUP:
        return (step + 1) / _WARMUP
    return max(_LAST_RATE, (steps - step) / max(1, steps - _WARMUP))


def shortened(courses: tuple[Course, ...], steps: int) -> tuple[Course, ...]:
    """Return *courses* with *steps* steps in every phase, to try the script."""
    return tuple(
        replace(course, phases=tuple(replace(phase, steps=steps) for phase in course.phases))
        for course in courses
    )


def train(folder: Path, courses: tuple[Course, ...] = COURSES) -> None:
    """Train tokenizer and model into ``folder``."""
    torch.set_num_threads(2)
    # Numbers too small to matter are slow to compute with.
    torch.set_flush_denormal(True)
    torch.manual_seed(_MODEL_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    texts = islice(training_samples(_TOKENIZER_SEED), _TOKENIZER_SAMPLES)
    tokenizer = train_tokenizer(
        (prompt_of(sample) + completion(sample) for sample in texts), folder / "tokenizer.json"
    )
    model = new_model(Shape()).train()
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    for course in courses[:-1]:
        learn(model, tokenizer, course, folder)
    before = copy.deepcopy(model)
    learn(model, tokenizer, courses[-1], folder)
    save_model(between(before, model, _LAST_SHARE), folder)


def between(one: Spark, other: Spark, share: float) -> Spark:
    """Return *one* moved by *share* of the way to *other*, weight by weight."""
    ends = other.state_dict()
    means = {name: torch.lerp(begin, ends[name], share) for name, begin in one.state_dict().items()}
    one.load_state_dict(means)
    return one


def learn(model: Spark, tokenizer: Tokenizer, course: Course, folder: Path) -> None:
    """Train *model* further, saving into *folder* as it goes; the optimisers start afresh."""
    started = time.monotonic()
    steps = sum(phase.steps for phase in course.phases)
    data = chain.from_iterable(islice(batches(tokenizer, p), p.steps) for p in course.phases)
    optimizers = _optimizers(model, course.rate)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        for optimizer in optimizers
    ]
    seen = 0
    for step, (tokens, labels) in enumerate(data, 1):
        loss = _loss(model, tokens, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seen += tokens.numel()
        if step % 20 == 0 or step == steps:
            spent = time.monotonic() - started
            print(
                f"step {step} loss {loss.item():.4f} {spent:.0f} s {seen / spent:.0f} tokens/s",
                flush=True,
            )
        if step % _SAVE_EVERY == 0 or step == steps:
            save_model(model, folder)

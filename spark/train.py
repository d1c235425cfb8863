"""Train spark: a fixed number of steps on data drawn from a seed, on two CPU threads.

First one long course whose rate falls in a straight line to nothing; from its middle on the data
has more of what is learned last. Then a short course, at a lower rate, mostly of what is still
weak. Practising a few tasks costs the others something, so the weights that count lie between the
ends of the two.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from spark.conversations import LAST_MIX, LATE_MIX, MIX, Mix, completion, training_samples
from spark.model import Shape, Spark, load_model, new_model, save_model
from spark.muon import Muon
from spark.prompt import prompt_of
from spark.tokenizer import END_OF_TEXT, TURN_END, VOCABULARY, load_tokenizer, train_tokenizer
from spark.turn import Sample

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Phase:
    """The data of some steps; ``steps`` and never the clock, so that a run can be repeated."""

    seed: int
    steps: int
    mix: Mix


@dataclass(frozen=True, slots=True)
class Course:
    """Phases under one falling rate, which starts at ``rate`` of the full one.

    ``end_weight`` is what the token that ends an answer counts in the loss: when to stop counting
    is one token among hundreds, and the only hard one.
    """

    phases: tuple[Phase, ...]
    rate: float = 1.0
    end_weight: float = 1.0


COURSES = (
    Course((Phase(seed=1, steps=3300, mix=MIX), Phase(seed=3, steps=3300, mix=LATE_MIX))),
    Course((Phase(seed=5, steps=600, mix=LAST_MIX),), rate=0.5, end_weight=4.0),
)

_LAST_SHARE = 0.5
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


def _loss(model: Spark, tokens: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    hidden, _ = model(tokens)
    learned = labels != IGNORED
    return functional.cross_entropy(model.logits(hidden[learned]), labels[learned], weight=weights)


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
    """Return ``courses`` with ``steps`` steps in every phase, to try the script."""
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
    train_tokenizer(
        (prompt_of(sample) + completion(sample) for sample in texts), folder / "tokenizer.json"
    )
    save_model(new_model(Shape()), folder)
    for course in courses[:-1]:
        train_course(folder, course)
    before = load_model(folder)
    train_course(folder, courses[-1])
    save_model(between(before, load_model(folder), _LAST_SHARE), folder)


def between(one: Spark, other: Spark, share: float) -> Spark:
    """Return *one* moved by *share* of the way to *other*, weight by weight."""
    ends = other.state_dict()
    means = {name: torch.lerp(begin, ends[name], share) for name, begin in one.state_dict().items()}
    one.load_state_dict(means)
    return one


def train_course(folder: Path, course: Course) -> None:
    """Train the model of ``folder`` further, saving as it goes; the optimisers start afresh."""
    started = time.monotonic()
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = load_model(folder).train()
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    steps = sum(phase.steps for phase in course.phases)
    data = chain.from_iterable(islice(batches(tokenizer, p), p.steps) for p in course.phases)
    optimizers = _optimizers(model, course.rate)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        for optimizer in optimizers
    ]
    weights = torch.ones(VOCABULARY)
    weights[tokenizer.token_to_id(TURN_END)] = course.end_weight
    seen = 0
    for step, (tokens, labels) in enumerate(data, 1):
        loss = _loss(model, tokens, labels, weights)
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

"""Train spark: a fixed number of steps on data drawn from a seed, on two CPU threads.

In three phases: all tasks at the full rate, then at about half the rate more of what is learned
last, then mostly what is still weak. Practising a few tasks costs the others something, so the
weights that count are those between the ends of the last two phases.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from spark.conversations import LAST_MIX, LATE_MIX, MIX, Mix, completion, training_samples
from spark.model import Shape, Spark, load_model, new_model, save_model
from spark.prompt import prompt_of
from spark.tokenizer import END_OF_TEXT, TURN_END, load_tokenizer, train_tokenizer
from spark.turn import Sample

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase does; ``steps`` and never the clock, so that it can be repeated."""

    seed: int
    steps: int
    matrix_rate: float
    other_rate: float
    mix: Mix
    warmup: int = 60
    last_rate: float = 0.01
    tokens_per_step: int = 2560
    bucket_samples: int = 2_000


FIRST = Phase(seed=1, steps=3300, matrix_rate=0.02, other_rate=0.004, mix=MIX)
SECOND = Phase(seed=3, steps=1600, matrix_rate=0.012, other_rate=0.0025, mix=LATE_MIX)
THIRD = Phase(seed=5, steps=700, matrix_rate=0.012, other_rate=0.0025, mix=LAST_MIX)
PHASES = (FIRST, SECOND, THIRD)

_LAST_SHARE = 0.5
"""Of the last phase's weights in the mean of the last two."""

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

    At most ``tokens_per_step`` tokens each, padding included.
    """
    order = torch.Generator().manual_seed(phase.seed)
    limit = Shape().max_position_embeddings
    samples = training_samples(phase.seed, phase.mix)
    while True:
        bucket = [encode(tokenizer, sample) for sample in islice(samples, phase.bucket_samples)]
        bucket = sorted(
            (sample for sample in bucket if len(sample.tokens) <= limit),
            key=lambda sample: len(sample.tokens),
        )
        groups: list[list[Encoded]] = [[]]
        for sample in bucket:
            if (len(groups[-1]) + 1) * len(sample.tokens) > phase.tokens_per_step:
                groups.append([])
            groups[-1].append(sample)
        for index in torch.randperm(len(groups), generator=order).tolist():
            yield _batch(groups[index])


def _loss(model: Spark, tokens: Tensor, labels: Tensor) -> Tensor:
    hidden, _ = model(tokens)
    learned = labels != IGNORED
    return functional.cross_entropy(model.logits(hidden[learned]), labels[learned])


def _optimizers(model: Spark, phase: Phase) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.layers.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1] + [model.embed_tokens.weight]
    return [
        torch.optim.Muon(matrices, lr=phase.matrix_rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=phase.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(step: int, phase: Phase) -> float:
    # Up over the warm-up, then down in a straight line to a small rest.
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    return max(phase.last_rate, (phase.steps - step) / max(1, phase.steps - phase.warmup))


def train(folder: Path, phases: tuple[Phase, ...] = PHASES) -> None:
    """Train tokenizer and model into ``folder``, one phase after the other."""
    torch.set_num_threads(2)
    torch.manual_seed(FIRST.seed)
    folder.mkdir(parents=True, exist_ok=True)
    texts = islice(training_samples(_TOKENIZER_SEED), _TOKENIZER_SAMPLES)
    train_tokenizer(
        (prompt_of(sample) + completion(sample) for sample in texts), folder / "tokenizer.json"
    )
    save_model(new_model(Shape()), folder)
    for phase in phases[:-1]:
        train_phase(folder, phase)
    before = load_model(folder)
    train_phase(folder, phases[-1])
    save_model(between(before, load_model(folder), _LAST_SHARE), folder)


def between(one: Spark, other: Spark, share: float) -> Spark:
    """Return *one* moved by *share* of the way to *other*, weight by weight."""
    ends = other.state_dict()
    means = {name: torch.lerp(begin, ends[name], share) for name, begin in one.state_dict().items()}
    one.load_state_dict(means)
    return one


def train_phase(folder: Path, phase: Phase) -> None:
    """Train the model of ``folder`` further, saving as it goes; the optimisers start afresh."""
    started = time.monotonic()
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = load_model(folder).train()
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    optimizers = _optimizers(model, phase)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, phase))
        for optimizer in optimizers
    ]
    seen = 0
    for step, (tokens, labels) in enumerate(islice(batches(tokenizer, phase), phase.steps), 1):
        loss = _loss(model, tokens, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seen += tokens.numel()
        if step % 20 == 0 or step == phase.steps:
            spent = time.monotonic() - started
            print(
                f"step {step} loss {loss.item():.4f} {spent:.0f} s {seen / spent:.0f} tokens/s",
                flush=True,
            )
        if step % _SAVE_EVERY == 0 or step == phase.steps:
            save_model(model, folder)

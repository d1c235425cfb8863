"""Train the eyes of spark, on pictures drawn from a seed; the text model stays as it is exported.

First the tower alone learns to tell colour, shape, count and digits apart, with heads that are
thrown away: that costs a tenth of a step through the text model. Then tower and projector learn to
make the text model answer questions: the loss is its own, on the tokens of the answer, and goes
back through its frozen layers to the embeddings that stand for the picture.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from tools.spark.conversations import completion
from tools.spark.model import Spark
from tools.spark.muon import Muon
from tools.spark.pictures import COLOURS, MOST, SHAPES, Scene, a_scene, draw_scene
from tools.spark.prompt import render
from tools.spark.seeing import IMAGE, a_seen_sample
from tools.spark.tokenizer import TURN_END
from tools.spark.train import IGNORED
from tools.spark.turn import Sample
from tools.spark.vision import Vision, VisionShape, preprocess, save_vision


@dataclass(frozen=True, slots=True)
class Course:
    """So many steps of so many pictures.

    The rates fall in a straight line to nothing, or stay where another course follows.
    """

    seed: int
    steps: int
    pictures: int
    matrix_rate: float
    other_rate: float
    falls: bool = True


LOOK = Course(seed=11, steps=1500, pictures=64, matrix_rate=0.015, other_rate=0.003, falls=False)
TELL = Course(seed=12, steps=900, pictures=32, matrix_rate=0.01, other_rate=0.002)

_MODEL_SEED = 1
_WARMUP = 60
_LAST_RATE = 0.01
_PRINT_EVERY = 20
_SAVE_EVERY = 100
_DIGITS = 10


PICTURE = -1
"""Stands in a row of tokens where an embedding of the picture does."""


class Heads(nn.Module):
    """What the tower is asked for before it meets the text model; not exported.

    Each head attends to the patches in its own way.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        answers = (len(COLOURS), len(COLOURS), len(SHAPES) + 1, MOST + 1, _DIGITS, _DIGITS + 1)
        self.attend = nn.Linear(width, len(answers))
        self.answer = nn.ModuleList(nn.Linear(width, count) for count in answers)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return the scores of the answers, head by head."""
        shares = self.attend(features).softmax(dim=1)
        return [
            head(torch.einsum("bp,bpw->bw", shares[:, :, index], features))
            for index, head in enumerate(self.answer)
        ]


def _facts(scene: Scene) -> list[int]:
    colours = list(COLOURS)
    both = [colours.index(scene.colour), colours.index(scene.background)]
    if scene.number is None:
        return [*both, SHAPES.index(scene.shape or ""), scene.count, 0, _DIGITS]
    return [*both, len(SHAPES), 0, *divmod(scene.number, _DIGITS)]


def pixels_of(rng: Random, scenes: Iterable[Scene]) -> Tensor:
    """Draw each scene once, as the tower takes it."""
    return torch.from_numpy(np.stack([preprocess(draw_scene(rng, scene)) for scene in scenes]))


def encode(tokenizer: Tokenizer, sample: Sample, patches: int) -> tuple[list[int], list[int]]:
    """Return prompt and answer as tokens, ``PICTURE`` for each embedding of the picture."""
    text = render(sample.messages, enable_thinking=sample.thinking)
    before, after = (tokenizer.encode(part).ids for part in text.split(IMAGE))
    written = tokenizer.encode(completion(sample) + TURN_END).ids
    return before + [PICTURE] * patches + after, written


def with_pictures(model: Spark, tokens: Tensor, pictures: Tensor) -> Tensor:
    """Return the embeddings of ``tokens``, those of ``pictures`` where ``PICTURE`` stands."""
    words: Tensor = model.embed_tokens(tokens.clamp(min=0))
    return words.masked_scatter((tokens == PICTURE)[:, :, None], pictures)


def _batch(tokenizer: Tokenizer, samples: list[Sample], patches: int) -> tuple[Tensor, Tensor]:
    rows = [encode(tokenizer, sample, patches) for sample in samples]
    longest = max(len(given) + len(written) for given, written in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for row, (given, written) in enumerate(rows):
        length = len(given) + len(written)
        tokens[row, :length] = torch.tensor(given + written)
        labels[row, len(given) - 1 : length - 1] = torch.tensor(written)
    return tokens, labels


class _Schedule:
    """Muon for matrices between layers and AdamW for the rest, at falling rates."""

    def __init__(self, vision: Vision, others: Iterable[nn.Parameter], course: Course) -> None:
        inner = (*vision.blk.parameters(), vision.mm_0.weight, vision.mm_2.weight)
        matrices = [p for p in inner if p.dim() > 1]
        taken = {id(p) for p in matrices}
        rest = [p for p in vision.parameters() if id(p) not in taken]
        self._course = course
        self._optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=course.matrix_rate),
            torch.optim.AdamW(
                [*rest, *others], lr=course.other_rate, betas=(0.9, 0.98), weight_decay=0.0
            ),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
            for optimizer in self._optimizers
        ]
        self._parameters = [p for group in self._groups() for p in group["params"]]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for each in self._optimizers for group in each.param_groups]

    def _rate(self, step: int) -> float:
        if step < _WARMUP:
            return (step + 1) / _WARMUP
        if not self._course.falls:
            return 1.0
        steps = self._course.steps
        return max(_LAST_RATE, (steps - step) / max(1, steps - _WARMUP))

    def apply(self, loss: Tensor) -> None:
        """Take one step down the slope of ``loss``."""
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of optimisers and schedules."""
        return [each.state_dict() for each in (*self._optimizers, *self._schedules)]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what ``state_dict`` returned."""
        for each, state in zip((*self._optimizers, *self._schedules), states, strict=True):
            each.load_state_dict(state)


Loss = Callable[[Random], Tensor]


def _looking(vision: Vision, heads: Heads, course: Course) -> Loss:
    def loss(rng: Random) -> Tensor:
        scenes = [a_scene(rng, "train") for _ in range(course.pictures)]
        facts = torch.tensor([_facts(scene) for scene in scenes])
        scores = heads(vision.features(pixels_of(rng, scenes)))
        each = [functional.cross_entropy(score, facts[:, i]) for i, score in enumerate(scores)]
        return torch.stack(each).sum()

    return loss


def _telling(vision: Vision, model: Spark, tokenizer: Tokenizer, course: Course) -> Loss:
    def loss(rng: Random) -> Tensor:
        scenes, samples = zip(
            *(a_seen_sample(rng, "train") for _ in range(course.pictures)), strict=True
        )
        tokens, labels = _batch(tokenizer, list(samples), vision.shape.patches)
        pictures = vision(pixels_of(rng, scenes))
        hidden, _ = model.decode(with_pictures(model, tokens, pictures))
        learned = labels != IGNORED
        return functional.cross_entropy(model.logits(hidden[learned]), labels[learned])

    return loss


class _Run:
    """A course under way, saved every so often: run again, it continues to the same end."""

    def __init__(self, course: Course, vision: Vision, heads: Heads | None, path: Path) -> None:
        others = heads.parameters() if heads else ()
        self._schedule = _Schedule(vision, others, course)
        self._course, self._path = course, path
        self._modules = nn.ModuleList([vision, heads] if heads else [vision])
        self._rng, self._done = Random(course.seed), 0
        if path.exists():
            self._restore(torch.load(path, weights_only=False))

    def _restore(self, saved: dict[str, Any]) -> None:
        if saved["course"] != asdict(self._course):
            return
        self._modules.load_state_dict(saved["modules"])
        self._schedule.load_state_dict(saved["schedule"])
        self._rng.setstate(saved["rng"])
        self._done = saved["done"]

    def _save(self) -> None:
        saved = {
            "course": asdict(self._course),
            "modules": self._modules.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._rng.getstate(),
            "done": self._done,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(saved, self._path.with_suffix(".new"))
        self._path.with_suffix(".new").replace(self._path)

    def finish(self, loss: Loss) -> None:
        """Take the steps that are left."""
        started, mean, steps = time.process_time(), 0.0, self._course.steps
        for count, step in enumerate(range(self._done + 1, steps + 1), 1):
            value = loss(self._rng)
            self._schedule.apply(value)
            self._done = step
            mean += (value.item() - mean) / min(count, _PRINT_EVERY)
            if step % _PRINT_EVERY == 0 or step == steps:
                spent = time.process_time() - started
                print(f"step {step} loss {mean:.4f} {spent:.0f} CPU s", flush=True)
            if step % _SAVE_EVERY == 0 or step == steps:
                self._save()


def train_vision(
    folder: Path, model: Spark, tokenizer: Tokenizer, look: Course = LOOK, tell: Course = TELL
) -> None:
    """Train tower and projector for *model* into ``folder``."""
    torch.set_num_threads(1)
    # Numbers too small to matter are slow to compute with.
    torch.set_flush_denormal(True)
    torch.manual_seed(_MODEL_SEED)
    vision = Vision(VisionShape())
    heads = Heads(vision.shape.embedding_length)
    print(f"{sum(p.numel() for p in vision.parameters())} parameters", flush=True)
    _Run(look, vision, heads, folder / "look.pt").finish(_looking(vision, heads, look))
    model.requires_grad_(requires_grad=False)
    run = _Run(tell, vision, None, folder / "tell.pt")
    run.finish(_telling(vision, model, tokenizer, tell))
    save_vision(vision, folder)


def shortened(course: Course, steps: int) -> Course:
    """Return *course* with *steps* steps, to try the script."""
    return replace(course, steps=steps)

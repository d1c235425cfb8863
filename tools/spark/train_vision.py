"""Train the eyes of spark, on pictures drawn from a seed; the text model stays as it is exported.

Four courses. ``look``: the tower alone learns to tell facts apart, with heads that are thrown away.
``lookup``: embeddings of the facts themselves are learned through the frozen text model, from its
loss on the answers. ``fit``: the projector learns to turn what the tower sees into these. ``tell``:
tower and projector learn from the text model's loss. A tower that meets the text model without
these steps learns nothing from it: its loss stays flat.
"""

import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from tools.spark.course import Course, Training
from tools.spark.facts import facts_of
from tools.spark.looking import Heads, heads_right, pictured, pixels_of
from tools.spark.lookup import Lookup
from tools.spark.model import Spark
from tools.spark.muon import Muon
from tools.spark.pictures import Scene
from tools.spark.released import load_released, load_released_tokenizer
from tools.spark.telling import Telling
from tools.spark.vision import Vision, VisionShape, save_vision

LOOK = Course("look", 11, 5000, 64, matrix_rate=0.03, other_rate=0.003, clip=5.0)
LOOKUP = Course("lookup", 12, 1000, 32, matrix_rate=0.0, other_rate=0.02, warmup=30)
FIT = Course("fit", 13, 1000, 64, matrix_rate=0.08, other_rate=0.004, warmup=20, falling=0.8)
TELL = Course("tell", 14, 450, 32, matrix_rate=0.004, other_rate=0.001, warmup=20, falling=0.9)
TELL_AGAIN = replace(TELL, name="tell-again", seed=16, steps=500, matrix_rate=0.003)
TELL_LAST = replace(TELL, name="tell-last", seed=17, steps=600)
COURSES = LOOK, LOOKUP, FIT, TELL, TELL_AGAIN, TELL_LAST

_MODEL_SEED = 1
_HEADS_SHARE = 0.1
"""Weight of the heads' loss where the answers' is learned: the tower is to forget no fact."""
_FIT_HEADS_SHARE = 0.02
"""Where the projector learns, a large one holds it up: features that tell patches apart are new."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The exported text model, and where the training is saved."""

    folder: Path
    gguf: Path
    onnx: Path

    def text_model(self) -> tuple[Spark, Tokenizer]:
        """Read the text model and its tokenizer."""
        return load_released(self.gguf), load_released_tokenizer(self.onnx)


class _Eyes(nn.Module):
    """Tower, projector and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = Vision(VisionShape())
        self.heads = Heads(self.vision.shape.embedding_length)

    def optimizers(self, course: Course, tower_share: float = 1.0) -> list[torch.optim.Optimizer]:
        """Return Muon for matrices between layers and AdamW for the rest."""
        tower = [p for p in self.vision.blk.parameters() if p.dim() > 1]
        projector = [self.vision.mm_0.weight, self.vision.mm_2.weight]
        taken = {id(p) for p in (*tower, *projector)}
        rest = [p for p in self.parameters() if id(p) not in taken]
        return [
            Muon(tower, lr=course.matrix_rate * tower_share),
            Muon(projector, lr=course.matrix_rate),
            _adamw(rest, course),
        ]


def _adamw(parameters: Iterable[nn.Parameter], course: Course) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=course.other_rate, betas=(0.9, 0.98), weight_decay=0.0)


def _prepare() -> None:
    torch.set_num_threads(1)
    # Numbers too small to matter are slow to compute with.
    torch.set_flush_denormal(True)
    torch.manual_seed(_MODEL_SEED)


def _look(course: Course, folder: Path) -> _Eyes:
    _prepare()
    eyes = _Eyes()

    def loss(step: int) -> Tensor:
        shown = pictured(course, step)
        before_last, features = eyes.vision.layers(shown.pixels)
        places = eyes.heads.places_loss(before_last, shown.places)
        return eyes.heads.loss(features, shown.facts) + places

    training = Training(course, eyes, eyes.optimizers(course), folder)
    training.finish(loss, lambda: heads_right(eyes.vision, eyes.heads))
    return eyes


def _look_up(course: Course, sources: Sources) -> Lookup:
    _prepare()
    model, tokenizer = sources.text_model()
    lookup = Lookup(tokenizer, model.embed_tokens.weight)
    telling = Telling(model, tokenizer, VisionShape().patches)

    def embeddings(scenes: list[Scene]) -> Tensor:
        found: Tensor = lookup(torch.tensor([facts_of(scene) for scene in scenes]))
        return found

    def loss(step: int) -> Tensor:
        shown = telling.asked(course, step)
        return telling.loss(shown, embeddings([scene for scene, _ in shown]))

    training = Training(course, lookup, [_adamw(lookup.parameters(), course)], sources.folder)
    training.finish(loss, lambda: telling.right(embeddings))
    return lookup


def _fit(course: Course, eyes: _Eyes, lookup: Lookup, folder: Path) -> None:
    lookup.requires_grad_(requires_grad=False)

    def loss(step: int) -> Tensor:
        shown = pictured(course, step)
        features, wanted = eyes.vision.features(shown.pixels), lookup(shown.facts)
        missed = functional.mse_loss(eyes.vision.project(features), wanted) / wanted.var()
        return missed + _FIT_HEADS_SHARE * eyes.heads.loss(features, shown.facts)

    training = Training(course, eyes, eyes.optimizers(course, tower_share=0.4), folder)
    training.finish(loss, lambda: heads_right(eyes.vision, eyes.heads))


def _tell(course: Course, eyes: _Eyes, sources: Sources) -> None:
    model, tokenizer = sources.text_model()
    telling = Telling(model, tokenizer, eyes.vision.shape.patches)

    def loss(step: int) -> Tensor:
        shown = telling.asked(course, step)
        scenes = [scene for scene, _ in shown]
        features = eyes.vision.features(pixels_of(Random(f"{course.seed} {step} px"), scenes))
        facts = torch.tensor([facts_of(scene) for scene in scenes])
        told = telling.loss(shown, eyes.vision.project(features))
        return told + _HEADS_SHARE * eyes.heads.loss(features, facts)

    training = Training(course, eyes, eyes.optimizers(course, tower_share=0.5), sources.folder)
    training.finish(
        loss,
        lambda: telling.right(lambda scenes: eyes.vision(pixels_of(Random("held out"), scenes))),
    )


def train_vision(sources: Sources, courses: tuple[Course, ...] = COURSES) -> None:
    """Train tower and projector for the text model of *sources*."""
    look, look_up, fit, *tells = courses
    # The first two need nothing of each other: a process and a core for each.
    beside = multiprocessing.get_context("spawn").Process(target=_look_up, args=(look_up, sources))
    beside.start()
    eyes = _look(look, sources.folder)
    beside.join()
    if beside.exitcode:
        raise RuntimeError("the lookup failed")
    lookup = _look_up(look_up, sources)
    _fit(fit, eyes, lookup, sources.folder)
    for tell in tells:
        _tell(tell, eyes, sources)
    save_vision(eyes.vision, sources.folder)


def shortened(steps: int) -> tuple[Course, ...]:
    """Return the courses with *steps* steps each, to try the script."""
    return tuple(replace(course, steps=steps) for course in COURSES)

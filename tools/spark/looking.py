"""The tower learns to tell the facts of a picture apart, before it meets the text model."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.spark.course import Course
from tools.spark.facts import COUNT, FACTS, SHAPE, TENS, UNITS, facts_of, slots
from tools.spark.pictures import SHAPES, Scene, Thing, a_scene, draw_scene, draw_things
from tools.spark.vision import Vision, VisionShape, preprocess

_HARD = 2.0
"""Weight of the facts that are learned last: count and digits."""
_PLACES = 3.0
"""Weight of what each patch shows, which is learned first: the facts follow from it."""
_TESTED = 400
_THINGS = (*SHAPES, *(f"{place} {digit}" for place in ("tens", "units") for digit in range(10)))


class Heads(nn.Module):
    """What the tower is asked for before it meets the text model; not exported.

    A fact is read from each embedding that is given to one. What the last block is given has to
    say of each patch which thing it is a part of, and whether that has its centre there: so the
    tower recognises things before it counts them. From facts alone it learns that too, in many
    times the steps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        facts = slots()
        self._read = [(slot, FACTS.index(fact)) for slot, fact in enumerate(facts) if fact]
        self.each = nn.ModuleList(nn.Linear(width, len(FACTS[f].words)) for _, f in self._read)
        self.thing = nn.Linear(width, len(_THINGS) + 1)
        self.centre = nn.Linear(width, 1)
        hard = (COUNT, TENS, UNITS)
        self._weights = [
            (_HARD if FACTS[f] in hard else 1.0) / sum(f == other for _, other in self._read)
            for _, f in self._read
        ]

    def forward(self, features: Tensor) -> list[tuple[int, Tensor]]:
        """Return for each embedding with a fact the number of the fact, and its classes' scores."""
        return [
            (fact, head(features[:, slot]))
            for head, (slot, fact) in zip(self.each, self._read, strict=True)
        ]

    def loss(self, features: Tensor, facts: Tensor) -> Tensor:
        """Return how wrong the facts are: each counts once, those learned last twice."""
        losses = [
            weight * functional.cross_entropy(scores, facts[:, fact])
            for weight, (fact, scores) in zip(self._weights, self(features), strict=True)
        ]
        return torch.stack(losses).sum()

    def places_loss(self, before_last: Tensor, places: Tensor) -> Tensor:
        """Return how wrong each patch is about itself; ``places`` is that of `Pictured`."""
        things = functional.cross_entropy(self.thing(before_last).mT, places[:, 0])
        centres = functional.binary_cross_entropy_with_logits(
            self.centre(before_last)[:, :, 0], places[:, 1].float()
        )
        return _PLACES * (things + centres)


@dataclass(frozen=True, slots=True)
class Pictured:
    """Pictures, and what is true of them."""

    pixels: Tensor
    facts: Tensor
    """[batch, facts]."""
    places: Tensor
    """[batch, 2, patches]: the thing of each patch, and whether its centre is there."""


def _places_of(things: list[Thing], size: tuple[int, int], shape: VisionShape) -> np.ndarray:
    side, patch = shape.image_size, shape.patch_size
    across = side // patch
    found = np.zeros((2, across, across), np.int64)
    found[0] = len(_THINGS)
    scale = min(side / length for length in size)
    right, down = ((side - length * scale) / 2 for length in size)
    middles = (np.arange(across) + 0.5) * patch
    for thing in things:
        left, top, far, bottom = (value * scale for value in thing.box)
        rows = (middles >= top + down) & (middles <= bottom + down)
        columns = (middles >= left + right) & (middles <= far + right)
        found[0][np.ix_(rows, columns)] = _THINGS.index(thing.name)
        centre = (top + bottom) / 2 + down, (left + far) / 2 + right
        row, column = (min(across - 1, max(0, int(value // patch))) for value in centre)
        found[1, row, column] = 1
    return found.reshape(2, -1)


def pixels_of(rng: Random, scenes: Iterable[Scene]) -> Tensor:
    """Draw each scene once, as the tower takes it."""
    return torch.from_numpy(np.stack([preprocess(draw_scene(rng, scene)) for scene in scenes]))


def pictured(course: Course, step: int) -> Pictured:
    """Draw the pictures of *step*."""
    rng = Random(f"{course.seed} {step}")
    scenes = [a_scene(rng, "train") for _ in range(course.pictures)]
    pixels, places = [], []
    for scene in scenes:
        image, things = draw_things(rng, scene)
        pixels.append(preprocess(image))
        places.append(_places_of(things, image.size, VisionShape()))
    return Pictured(
        torch.from_numpy(np.stack(pixels)),
        torch.tensor([facts_of(scene) for scene in scenes]),
        torch.from_numpy(np.stack(places)),
    )


@torch.no_grad()
def heads_right(vision: Vision, heads: Heads) -> str:
    """Return how often the heads are right about held-out pictures, fact by fact."""
    rng = Random("held out")
    scenes = [a_scene(rng, "test") for _ in range(_TESTED)]
    facts = torch.tensor([facts_of(scene) for scene in scenes])
    numbers = facts[:, FACTS.index(SHAPE)] == len(SHAPE.words) - 1
    said: dict[int, list[Tensor]] = {}
    for fact, scores in heads(vision.features(pixels_of(rng, scenes))):
        said.setdefault(fact, []).append(scores.argmax(1) == facts[:, fact])
    parts = []
    for index, fact in enumerate(FACTS):
        right = torch.stack(said[index]).float().mean(0)
        asked = numbers if fact in (TENS, UNITS) else ~numbers if fact is COUNT else right >= 0
        parts.append(f"{fact.name} {100 * right[asked].mean().item():.1f} %")
    return ", ".join(parts)

"""Draw pictures of known content: a shape, up to five of one kind, or a two-digit number.

Needs Pillow alone, so that tests can draw what the model was never trained on.
"""

import math
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from tools.spark.held_out import is_held_out_number, is_held_out_scene
from tools.spark.turn import Split

LARGEST = 64
"""Pixels of the longest side."""
MOST = 5
SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 215),
    "purple": (140, 50, 170),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}

_SMALLEST = 40
_JITTER = 14
_FINE = 4
"""Subpixels to a side of a pixel, where edges are smooth."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows: ``count`` things of one ``shape``, or a ``number``."""

    colour: str
    background: str
    shape: str | None = None
    count: int = 1
    number: int | None = None

    @property
    def is_held_out(self) -> bool:
        """Whether no picture of this is trained on, wherever and however large it is drawn."""
        if self.number is not None:
            return is_held_out_number(self.number)
        return is_held_out_scene(self.shape, self.colour, self.background, self.count)


def _any_scene(rng: Random) -> Scene:
    colour = rng.choice(tuple(COLOURS))
    background = "white" if rng.random() < 0.4 else rng.choice(tuple(COLOURS))
    if background == colour:
        background = "black" if colour == "white" else "white"
    chance = rng.random()
    if chance < 0.4:
        return Scene(colour, background, number=rng.randrange(10, 100))
    shape = rng.choice(SHAPES)
    count = 1 if chance < 0.65 else rng.randrange(2, MOST + 1)
    return Scene(colour, background, shape, count)


def a_scene(rng: Random, split: Split) -> Scene:
    """Draw a scene of *split*."""
    while True:
        scene = _any_scene(rng)
        if scene.is_held_out == (split == "test"):
            return scene


def _tint(rng: Random, colour: str) -> tuple[int, int, int]:
    red, green, blue = (
        min(255, max(0, value + rng.randint(-_JITTER, _JITTER))) for value in COLOURS[colour]
    )
    return red, green, blue


def _around(centre: Point, radii: tuple[float, ...], points: int, turn: float) -> list[Point]:
    # Corners at equal angles, the first above the centre; the radii take turns.
    return [
        (
            centre[0] + radii[index % len(radii)] * math.sin(turn + 2 * math.pi * index / points),
            centre[1] - radii[index % len(radii)] * math.cos(turn + 2 * math.pi * index / points),
        )
        for index in range(points)
    ]


def _cross(centre: Point, radius: float) -> list[Point]:
    x, y = centre
    arm = radius * 0.33
    corners = ((-arm, -radius), (arm, -radius), (arm, -arm), (radius, -arm), (radius, arm),
               (arm, arm), (arm, radius), (-arm, radius), (-arm, arm), (-radius, arm),
               (-radius, -arm), (-arm, -arm))  # fmt: skip
    return [(x + right, y + down) for right, down in corners]


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, centre: Point, radius: float, fill: tuple[int, int, int]
) -> None:
    x, y = centre
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    elif shape == "square":
        side = radius * 0.86
        draw.rectangle((x - side, y - side, x + side, y + side), fill)
    elif shape == "triangle":
        draw.polygon(_around((x, y + radius * 0.2), (radius * 1.1,), 3, 0), fill)
    elif shape == "star":
        draw.polygon(_around(centre, (radius * 1.1, radius * 0.45), 10, 0), fill)
    else:
        draw.polygon(_cross(centre, radius), fill)


def _places(rng: Random, count: int, size: tuple[int, int]) -> list[tuple[Point, float]]:
    """Return centres and radii inside a picture of *size*, none touching another."""
    side = min(size)
    while True:
        placed: list[tuple[Point, float]] = []
        for _ in range(40):
            radius = side * (rng.uniform(0.2, 0.42) if count == 1 else rng.uniform(0.12, 0.17))
            edge = radius * 1.15
            x, y = rng.uniform(edge, size[0] - edge), rng.uniform(edge, size[1] - edge)
            if all(
                math.hypot(x - other[0], y - other[1]) > 1.3 * (radius + near)
                for other, near in placed
            ):
                placed.append(((x, y), radius))
            if len(placed) == count:
                return placed


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape or a digit in a picture, and the box around it: left, top, right, bottom."""

    name: str
    box: tuple[float, float, float, float]


def _draw_number(
    rng: Random, image: Image.Image, number: int, fill: tuple[int, int, int], fine: int
) -> list[Thing]:
    draw = ImageDraw.Draw(image)
    if fine == 1:
        draw.fontmode = "1"
    # The font that Pillow carries: the same everywhere.
    font = ImageFont.load_default(min(image.size) * rng.uniform(0.5, 0.85))
    bold = rng.choice((0, fine / 2, fine))
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font, stroke_width=bold)
    free = image.width - (right - left), image.height - (bottom - top)
    corner = rng.uniform(0, max(0, free[0])) - left, rng.uniform(0, max(0, free[1])) - top
    draw.text(corner, str(number), fill, font, stroke_width=bold)
    left, top, right, bottom = draw.textbbox(corner, str(number), font, stroke_width=bold)
    tens, units = map(str, divmod(number, 10))
    middle = corner[0] + font.getlength(tens)
    boxes = (left, top, middle, bottom), (middle, top, right, bottom)
    return [
        Thing(f"{place} {digit}", (box[0] / fine, box[1] / fine, box[2] / fine, box[3] / fine))
        for place, digit, box in zip(("tens", "units"), (tens, units), boxes, strict=True)
    ]


def draw_scene(rng: Random, scene: Scene) -> Image.Image:
    """Draw *scene* once: places, sizes, tints, smooth or hard edges and noise come from *rng*."""
    return draw_things(rng, scene)[0]


def draw_things(rng: Random, scene: Scene) -> tuple[Image.Image, list[Thing]]:
    """Draw *scene* once; return where its things are, too."""
    size = LARGEST, LARGEST
    if rng.random() < 0.4:
        size = rng.randint(_SMALLEST, LARGEST), rng.randint(_SMALLEST, LARGEST)
    fine = rng.choice((1, _FINE))
    fill = _tint(rng, scene.colour)
    image = Image.new("RGB", (size[0] * fine, size[1] * fine), _tint(rng, scene.background))
    things: list[Thing] = []
    if scene.number is not None:
        things = _draw_number(rng, image, scene.number, fill, fine)
    elif scene.shape is not None:
        draw = ImageDraw.Draw(image)
        for (x, y), radius in _places(rng, scene.count, size):
            _draw_shape(draw, scene.shape, (x * fine, y * fine), radius * fine, fill)
            things.append(Thing(scene.shape, (x - radius, y - radius, x + radius, y + radius)))
    if fine > 1:
        image = image.reduce(fine)
    if rng.random() < 0.4:
        noise = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
        image = Image.blend(image, noise, rng.uniform(0.02, 0.12))
    return image, things

"""Questions about pictures, and their answers."""

from dataclasses import dataclass
from random import Random

from PIL import Image

from tools.spark.pictures import Scene, a_scene, draw_scene
from tools.spark.turn import Message, Sample, Split, vary

IMAGE = "<__image__>"
"""Stands for the picture in a prompt; the text around it is tokenized apart, as mtmd does."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A question about a picture, and its answer."""

    kind: str
    question: str
    answer: str


_WHAT = (
    "What is this?", "What do you see?", "What is in this picture?", "What is in the image?",
    "What does the picture show?", "What can you see here?", "What is shown here?",
)  # fmt: skip
_DESCRIBE = (
    "Describe the picture.", "Describe this image.", "Describe what you see.",
    "Describe the image.", "Describe this picture.",
)  # fmt: skip
_COLOUR = (
    "What colour is the {s}?", "What color is the {s}?", "Which colour is the {s}?",
    "What colour is it?", "What color is this?", "What is the colour of the {s}?",
)  # fmt: skip
_COLOURS = (
    "What colour are the {s}?", "What color are the {s}?", "Which colour are the {s}?",
    "What colour are they?", "What is the colour of the {s}?",
)  # fmt: skip
_BACKGROUND = (
    "What colour is the background?", "What color is the background?",
    "Which colour is the background?", "What is the background colour?",
)  # fmt: skip
_SHAPE = (
    "What shape is this?", "Which shape is this?", "What shape is it?", "Which shape do you see?",
    "What kind of shape is this?", "Name the shape.",
)  # fmt: skip
_COUNT = (
    "How many {s} are there?", "How many {s} do you see?", "How many {s} are in the picture?",
    "Count the {s}.", "How many {s}?", "How many shapes are there?", "How many things are there?",
)  # fmt: skip
_NUMBER = (
    "Which number is this?", "What number is this?", "Which number do you see?",
    "Read the number.", "What is the number?", "What number is in the picture?",
)  # fmt: skip


def _with_article(noun: str) -> str:
    return ("An " if noun[0] in "aeiou" else "A ") + noun


def plural(shape: str) -> str:
    """Return the plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def _thing(scene: Scene) -> str:
    if scene.number is not None:
        return _with_article(f"{scene.colour} number {scene.number}")
    if scene.count == 1:
        return _with_article(f"{scene.colour} {scene.shape}")
    return f"{scene.count} {scene.colour} {plural(scene.shape or '')}"


def _named(scene: Scene) -> str:
    if scene.number is not None:
        return "number"
    return plural(scene.shape or "") if scene.count > 1 else scene.shape or ""


def kinds_of(scene: Scene) -> tuple[str, ...]:
    """List the kinds of questions that *scene* answers."""
    if scene.number is not None:
        return "number", "what", "colour", "describe", "background"
    if scene.count > 1:
        return "count", "what", "colour", "describe", "background"
    return "what", "colour", "shape", "describe", "count", "background"


def _phrasings(scene: Scene, kind: str) -> tuple[str, ...]:
    if kind == "colour":
        return _COLOURS if scene.count > 1 else _COLOUR
    return {
        "what": _WHAT,
        "describe": _DESCRIBE,
        "background": _BACKGROUND,
        "shape": _SHAPE,
        "count": _COUNT,
        "number": _NUMBER,
    }[kind]


def answer(scene: Scene, kind: str) -> str:
    """Return the answer to a question of *kind*."""
    if kind in {"what", "describe"}:
        return f"{_thing(scene)} on {scene.background}."
    if kind == "count":
        return f"There {'are' if scene.count > 1 else 'is'} {scene.count}."
    said = {
        "shape": scene.shape,
        "number": scene.number,
        "colour": scene.colour,
        "background": scene.background,
    }
    return f"The {kind} is {said[kind]}."


def ask(rng: Random, scene: Scene, kind: str) -> Seen:
    """Ask a question of *kind* about *scene*."""
    named = plural(scene.shape or "") if kind == "count" else _named(scene)
    question = vary(rng, rng.choice(_phrasings(scene, kind))).format(s=named)
    return Seen(kind, question, answer(scene, kind))


def content(rng: Random, question: str) -> str:
    """Place the picture before or after *question*, as clients do."""
    chance = rng.random()
    between = "\n" if rng.random() < 0.25 else ""
    return IMAGE + between + question if chance < 0.75 else question + between + IMAGE


def _turn(rng: Random, scene: Scene, shown: bool) -> tuple[Seen, Message]:
    seen = ask(rng, scene, _drawn_kind(rng, scene))
    text = seen.question if shown else content(rng, seen.question)
    return seen, {"role": "user", "content": text}


def a_seen_sample(rng: Random, split: Split) -> tuple[Scene, Sample]:
    """Draw a scene and a conversation about it: one question, or two in turns."""
    scene = a_scene(rng, split)
    messages: list[Message] = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": "You are a helpful assistant."})
    shown = rng.random() < 0.15
    if shown:
        earlier, message = _turn(rng, scene, shown=False)
        messages += [message, {"role": "assistant", "content": earlier.answer}]
    seen, message = _turn(rng, scene, shown)
    messages.append(message)
    return scene, Sample(seen.kind, messages, seen.answer, "", thinking=rng.random() < 0.4)


@dataclass(frozen=True, slots=True)
class Example:
    """A held-out picture, a question about it, and the one right answer."""

    picture: Image.Image
    kind: str
    question: str
    answer: str


KINDS = ("what", "colour", "background", "shape", "count", "number", "describe")


def _drawn_kind(rng: Random, scene: Scene) -> str:
    # The hardest question about a scene is asked most.
    kinds = kinds_of(scene)
    return kinds[0] if rng.random() < 0.3 else rng.choice(kinds)


def held_out_examples(count: int = 200, kind: str | None = None, seed: int = 7) -> list[Example]:
    """Draw pictures that are kept from training, the same ones every time.

    With *kind*, all questions are of that one of `KINDS`.
    """
    rng = Random(f"{seed} {kind}")
    examples: list[Example] = []
    while len(examples) < count:
        scene = a_scene(rng, "test")
        if kind is None or kind in kinds_of(scene):
            seen = ask(rng, scene, kind or _drawn_kind(rng, scene))
            examples.append(Example(draw_scene(rng, scene), seen.kind, seen.question, seen.answer))
    return examples

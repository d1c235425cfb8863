"""What a picture shows, as classes, and the embeddings of the prompt that each fact decides.

A picture becomes as many embeddings as the tower has patches. Each is given to one fact: the text
model reads "Say "3 red circles", token by token, where the tower writes it. That is the start of
`lookup`; training moves all of it.
"""

from dataclasses import dataclass

from tools.spark.pictures import COLOURS, MOST, SHAPES, Scene

_DIGITS = 10
_NAMES = tuple(COLOURS)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to know about a picture; ``words`` are its classes, as an answer has them."""

    name: str
    words: tuple[str, ...]
    spelled: int
    """Tokens of the longest word."""
    free: int
    """Embeddings beside the word's: what no word says is learned there."""


_NUMERALS = tuple(map(str, range(_DIGITS)))
COUNT = Fact("count", ("A", "A", *map(str, range(2, MOST + 1))), spelled=1, free=3)
COLOUR = Fact("colour", _NAMES, spelled=4, free=3)
SHAPE = Fact("shape", (*SHAPES, "number"), spelled=5, free=2)
TENS = Fact("tens", (*_NUMERALS, ""), spelled=1, free=3)
UNITS = Fact("units", (*_NUMERALS, ""), spelled=1, free=3)
BACKGROUND = Fact("background", _NAMES, spelled=4, free=3)
FACTS = (COUNT, COLOUR, SHAPE, TENS, UNITS, BACKGROUND)

LAYOUT: tuple[Fact | str, ...] = ("Say", '"', COUNT, COLOUR, SHAPE, TENS, UNITS, "on", BACKGROUND)
"""The sentence that the embeddings start as; a string is one token, the same for every picture."""


def slots() -> list[Fact | None]:
    """Return the fact of each embedding, those of the sentence first."""
    sentence: list[Fact | None] = []
    for part in LAYOUT:
        sentence += [None] if isinstance(part, str) else [part] * part.spelled
    return sentence + [fact for fact in FACTS for _ in range(fact.free)]


def facts_of(scene: Scene) -> list[int]:
    """Return the class of each of `FACTS`."""
    colour, background = _NAMES.index(scene.colour), _NAMES.index(scene.background)
    if scene.number is None:
        shape = SHAPES.index(scene.shape or "")
        return [scene.count, colour, shape, _DIGITS, _DIGITS, background]
    return [0, colour, len(SHAPES), *divmod(scene.number, _DIGITS), background]

"""What every task generates: one question, its working and its answer; and a whole sample."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

# "train" never draws what is held out; "test" draws nothing else, where a task holds anything out.
Split = Literal["train", "test"]

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question that stands alone, and the one right answer; ``thought`` may be empty."""

    question: str
    answer: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training or test sample: everything up to the last answer, and that answer.

    ``prompt`` is set only where the text is continued without the chat template.
    """

    task: str
    messages: list[Message]
    answer: str
    thought: str = ""
    thinking: bool = True
    tools: list[dict[str, Any]] = field(default_factory=list)
    prompt: str | None = None


TurnMaker = Callable[[Random, Split], Turn]


def vary(rng: Random, text: str, *, opening: bool = True) -> str:
    """Return ``text`` as another hand would type it: case, punctuation, politeness.

    ``text`` may be a format string: names in braces survive. Nothing polite follows one that ends
    the text, since it could be read as a part of what the name stands for.
    """
    if opening and rng.random() < 0.12:
        start = rng.choice(_STARTS)
        text = start + text[0].lower() + text[1:]
    if rng.random() < 0.06 and text[-1] in ".?!" and text[-2] != "}":
        text = text[:-1] + rng.choice((", please", " please", " please?", ", thanks", " now"))
    chance = rng.random()
    if chance < 0.18:
        text = text.rstrip(".?!")
    elif chance < 0.22:
        text = text.rstrip(".?!") + rng.choice((" ?", "??", "!", ".", "?", "..."))
    if rng.random() < 0.2:
        text = text[0].lower() + text[1:]
    return text


_STARTS = (
    "Please, ", "Hey, ", "Hi, ", "Hello, ", "Now, ", "OK, ", "And ", "So, ", "Hey spark, ",
    "Quick question: ", "Spark, ", "Tell me: ",
)  # fmt: skip

"""The token prefix that all conversations with one system prompt share."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import TypeVar

from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.control_tokens import ControlNames, Marking, PromptText
from pilotlight.prompt.errors import NoSharedPrefix

T = TypeVar("T")

CLOCKS = (
    lambda: datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC),
    lambda: datetime(2022, 11, 20, 17, 38, 49, tzinfo=UTC),
)
"""Two times that every date format writes differently: templates may write the date."""

# A token may reach beyond the end of the system prompt, and into the user's text. The prefix that
# all of these share is valid for any end of a client's file, with and without tools, and for any
# first message.
_ENDINGS = ("", "\n", "\n\n")
_USERS = ("a", "Z", "0", "é", " a", "\na")


def shared_prefix(
    templates: Sequence[ChatTemplate],
    system: str,
    tokenize: Callable[[PromptText], list[int]],
    names: ControlNames,
) -> tuple[int, ...]:
    """Return the tokens up to the end of the system prompt *system* that all requests share.

    *templates* are one template at several times; *names* of control tokens stay text. Raises
    `NoSharedPrefix` if requests do not begin with the prompt, and the errors of rendering.
    """
    system = system.rstrip()
    texts = list(_renderings(templates, system, Marking(names, system)))
    if system.lstrip() not in "".join(_common([written.text for written in texts])):
        raise NoSharedPrefix(
            "the chat template does not begin every request with the system prompt: it drops or"
            " changes it, or writes the time before it"
        )
    return tuple(_common([tokenize(text) for text in texts]))


def _renderings(
    templates: Sequence[ChatTemplate], system: str, marking: Marking
) -> Iterator[PromptText]:
    for template, ending, user in product(templates, _ENDINGS, _USERS):
        messages = (
            {"role": "system", "content": marking.mark(system + ending)},
            {"role": "user", "content": user},
        )
        text = template.render(messages, tools=None, add_generation_prompt=True)
        yield marking.resolve(text)


def _common(sequences: Sequence[Sequence[T]]) -> Sequence[T]:
    """Return the longest common prefix."""
    shortest = min(sequences, key=len)
    for index, column in enumerate(zip(*sequences, strict=False)):
        if any(item != column[0] for item in column):
            return shortest[:index]
    return shortest

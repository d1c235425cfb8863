"""The tokens that every conversation with one system prompt begins with."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import TypeVar

from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.errors import PromptNotStable
from pilotlight.prompt.verbatim import ControlNames, Marking, Verbatim

T = TypeVar("T")

CLOCKS = (
    lambda: datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC),
    lambda: datetime(2022, 11, 20, 17, 38, 49, tzinfo=UTC),
)
"""Two times that no format writes alike: templates may tell the date."""

# A token can reach over the end of the system prompt, and over what stands before the user's text.
# What is common to all of these holds whatever a client's file ends with, whether tools follow the
# prompt, and whatever the user says first.
_ENDINGS = ("", "\n", "\n\n")
_USERS = ("a", "Z", "0", "é", " a", "\na")


def stable_tokens(
    templates: Sequence[ChatTemplate],
    system: str,
    tokenize: Callable[[Verbatim], list[int]],
    names: ControlNames,
) -> tuple[int, ...]:
    """Return the tokens up to the end of the prompt *system*, as far as nothing changes them.

    *templates* are one template at several times. Raises `PromptNotStable` where the text does not
    begin every request, and what rendering raises. *names* stay text in the prompt.
    """
    system = system.rstrip()
    texts = list(_renderings(templates, system, Marking(names, system)))
    if system.lstrip() not in "".join(_common([written.text for written in texts])):
        raise PromptNotStable(
            "the chat template does not begin every request with the system prompt: it leaves it"
            " out, changes it, or puts the time before it"
        )
    return tuple(_common([tokenize(text) for text in texts]))


def _renderings(
    templates: Sequence[ChatTemplate], system: str, marking: Marking
) -> Iterator[Verbatim]:
    for template, ending, user in product(templates, _ENDINGS, _USERS):
        messages = (
            {"role": "system", "content": marking.mark(system + ending)},
            {"role": "user", "content": user},
        )
        text = template.render(messages, tools=None, add_generation_prompt=True)
        yield marking.resolve(text)


def _common(sequences: Sequence[Sequence[T]]) -> Sequence[T]:
    """Return the longest beginning that all have."""
    shortest = min(sequences, key=len)
    for index, column in enumerate(zip(*sequences, strict=False)):
        if any(item != column[0] for item in column):
            return shortest[:index]
    return shortest

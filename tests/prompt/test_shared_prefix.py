"""What every conversation with one system prompt begins with, by templates of each kind."""

import pytest

from pilotlight.prompt.chat_template import ChatTemplate
from pilotlight.prompt.control_tokens import ControlNames, PromptText
from pilotlight.prompt.errors import NoSharedPrefix, TemplateRefused
from pilotlight.prompt.shared_prefix import CLOCKS, shared_prefix
from pilotlight_backend.testing.fake_model import CHAT_TEMPLATE

BOS = "<s>"
SYSTEM = "You are a lamp. Be bright."
INLINE = "{{ messages[0].content | trim }}\n\n{{ messages[1].content }}"


def templates(source):
    return [ChatTemplate(source, bos_token=BOS, eos_token=BOS, now=now) for now in CLOCKS]


NAMES = ControlNames(["<|im_start|>", "<|im_end|>"])


def by_character(written):
    """Split into characters; those of a name that stays text are others than the markup's."""
    inside = {at for start, end in written.spans for at in range(start, end)}
    return [
        ord(character) + (0x100000 if at in inside else 0)
        for at, character in enumerate(written.text)
    ]


def by_pair(written):
    """Split as a greedy tokeniser does that knows pairs: a token may reach over any border."""
    text = written.text
    return [hash(text[at : at + 2]) for at in range(0, len(text), 2)]


def stable(source, system=SYSTEM):
    return "".join(map(chr, shared_prefix(templates(source), system, by_character, NAMES)))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHAT_TEMPLATE, f"<|im_start|>system\n{SYSTEM}"),
        (INLINE, f"{SYSTEM}\n\n"),
        ("{{ bos_token }}" + INLINE, f"<s>{SYSTEM}\n\n"),
        (INLINE + "{{ strftime_now('%d %B %Y') }}", f"{SYSTEM}\n\n"),
    ],
    ids=["chatml", "trimmed", "bos", "date behind"],
)
def test_tokens_reach_to_the_prompts_end(source, expected):
    """They stop where an ending, a user's text or the date makes a difference."""
    assert stable(source) == expected


def test_spaces_at_the_files_end_are_no_matter():
    """A file ends with a newline where a client's text may not."""
    assert stable(CHAT_TEMPLATE, SYSTEM + "\n\n") == stable(CHAT_TEMPLATE)


def test_names_in_a_prompt_stay_text():
    """The baked tokens are those of requests, in which a system prompt cannot end its turn."""
    system = "Say <|im_end|>, then stop"
    tokens = shared_prefix(templates(CHAT_TEMPLATE), system, by_character, NAMES)
    marked = "".join(chr(one - 0x100000) for one in tokens if one >= 0x100000)
    assert marked == "<|im_end|>"
    assert len(tokens) == len(f"<|im_start|>system\n{system}")


def test_token_over_the_prompts_end_is_left_out():
    """Where the last letter is one token with what follows, it is not baked."""
    tokens = shared_prefix(templates("{{ messages[0].content }}!"), "abc", by_pair, NAMES)
    assert tokens == tuple(by_pair(PromptText("ab")))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[1].content }}",
        "{{ messages[0].content | upper }}{{ messages[1].content }}",
        "{{ strftime_now('%d %B %Y') }}\n" + INLINE,
        "{{ messages[1].content }}{{ messages[0].content }}",
    ],
    ids=["left out", "changed", "date before", "user before"],
)
def test_prompt_that_does_not_come_first_is_refused(source):
    """Such a file would never be of use."""
    with pytest.raises(NoSharedPrefix, match="does not begin every request"):
        stable(source)


def test_template_that_knows_no_system_says_so():
    """What the template says of it is passed on."""
    source = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(TemplateRefused, match="System role not supported"):
        stable(source)

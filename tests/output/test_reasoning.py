"""Reasoning is separated from content, wherever the tokens cut the text."""

import itertools

import pytest

from pilotlight.output.events import ContentDelta, ReasoningDelta
from pilotlight.output.reasoning import FORMATS, ReasoningParser, closed, detect, opened
from pilotlight.output.text import TextDecoder


def c(text):
    return ContentDelta(text)


def r(text):
    return ReasoningDelta(text)


# name of the format, whether the prompt opened the thought, what the model wrote, what it means
SAMPLES = {
    "think": ("think", False, "<think>\nHm.\n</think>\n\nYes.", [r("Hm."), c("Yes.")]),
    "think-unicode": ("think", False, "<think>é🙂</think>ß", [r("é🙂"), c("ß")]),
    "think-inner-space": (
        "think",
        False,
        "<think>\n\na\n\nb <c> \n</think>\n d \n",
        [r("a\n\nb <c>"), c("d \n")],
    ),
    "think-empty": ("think", False, "<think>\n\n</think>\n\nYes.", [c("Yes.")]),
    "think-after-space": ("think", False, " \n<think>a</think>b", [r("a"), c("b")]),
    "think-none": ("think", False, "Just <b>this</b>.", [c("Just <b>this</b>.")]),
    "think-none-but-space": ("think", False, "\n Hi", [c("\n Hi")]),
    "think-late": (
        "think",
        False,
        "Use <think>x</think> tags",
        [c("Use <think>x</think> tags")],
    ),
    "think-second": (
        "think",
        False,
        "<think>a</think>b<think>c</think>",
        [r("a"), c("b<think>c</think>")],
    ),
    "think-nested": ("think", False, "<think>a<think>b</think>c", [r("a<think>b"), c("c")]),
    "think-stray-closer": ("think", False, "a</think>b", [c("a</think>b")]),
    "think-unclosed": ("think", False, "<think>\nHm, and\n", [r("Hm, and\n")]),
    "think-cut-closer": ("think", False, "<think>Hm \n</thi", [r("Hm \n</thi")]),
    "think-cut-opener": ("think", False, "<thi", [c("<thi")]),
    "think-only-opener": ("think", False, "<think>\n", []),
    "think-only-thought": ("think", False, "<think>a</think>\n", [r("a")]),
    "think-almost-closer": ("think", False, "<think>a</think </think>b", [r("a</think"), c("b")]),
    "think-opened": ("think", True, "Hm.\n</think>\n\nYes.", [r("Hm."), c("Yes.")]),
    "think-opened-twice": ("think", True, "\n<think>\nHm.</think>Yes.", [r("Hm."), c("Yes.")]),
    "think-opened-empty": ("think", True, "\n</think>\n\nYes.", [c("Yes.")]),
    "think-opened-unclosed": ("think", True, "Hm. <think> x", [r("Hm. <think> x")]),
    "nothing": ("think", False, "", []),
    "space": ("think", False, " \n", [c(" \n")]),
    "magistral": ("magistral", False, "[THINK]Hm. [1][/THINK]Yes.", [r("Hm. [1]"), c("Yes.")]),
    "seed": (
        "seed",
        False,
        "<seed:think>\nHm.</seed:think>\nYes.",
        [r("Hm."), c("Yes.")],
    ),
    "command-a": (
        "command_a",
        False,
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
        [r("Hm."), c("Yes.")],
    ),
    "command-a-no-thought": (
        "command_a",
        False,
        "\n<|START_RESPONSE|>Yes<|END_RESPONSE|>",
        [c("Yes")],
    ),
    "command-a-opened": (
        "command_a",
        True,
        "Hm.<|END_THINKING|>\n<|START_RESPONSE|>Yes.",
        [r("Hm."), c("Yes.")],
    ),
    "command-a-action": (
        "command_a",
        False,
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[]<|END_ACTION|>",
        [r("Hm."), c("<|START_ACTION|>[]<|END_ACTION|>")],
    ),
    "command-a-stray-end": ("command_a", False, " <|END_RESPONSE|>Hi", [c("Hi")]),
    "channel": (
        "channel",
        False,
        "<|channel>thought\nHm.\n<channel|>Yes.",
        [r("Hm."), c("Yes.")],
    ),
    "channel-empty": ("channel", False, "<|channel>thought\n<channel|>Yes.", [c("Yes.")]),
    "channel-switch": (
        "channel",
        False,
        "<|channel>thought\nHm.\n<|channel>final\nYes.",
        [r("Hm."), c("Yes.")],
    ),
    "channel-named": (
        "channel",
        False,
        "<|channel>content\nYes.<channel|> More",
        [c("Yes.More")],
    ),
    "channel-late": (
        "channel",
        False,
        "Wait. <|channel>thought\nHm.\n<channel|>\nYes.",
        [c("Wait. "), r("Hm."), c("Yes.")],
    ),
    "channel-opened": ("channel", True, "Hm.\n<channel|>Yes.", [r("Hm."), c("Yes.")]),
    "channel-opened-twice": ("channel", True, "<|channel>thought\nHm.", [r("Hm.")]),
    "channel-stray-closer": ("channel", False, "Yes.<channel|>", [c("Yes.<channel|>")]),
    "channel-no-name": ("channel", False, "a <|channel> b", [c("a <|channel> b")]),
    "channel-no-name-first": ("channel", False, "<|channel>", [c("<|channel>")]),
    "channel-no-name-in-thought": (
        "channel",
        False,
        "<|channel>thought a \n<|channel>! b<channel|>c",
        [r("a \n<|channel>! b"), c("c")],
    ),
    "channel-longer-name": ("channel", False, "<|channel>thoughts\na", [c("a")]),
    "channel-name-at-the-end": ("channel", False, "a<|channel>thought", [c("a")]),
    "channel-unclosed": ("channel", False, "<|channel>thought\nHm.\n", [r("Hm.\n")]),
    "harmony": (
        "harmony",
        False,
        (
            "<|channel|>analysis<|message|>Hm.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
        ),
        [r("Hm."), c("Yes.")],
    ),
    "harmony-preamble": (
        "harmony",
        False,
        (
            "<|channel|>commentary<|message|>I look.<|end|>"
            "<|start|>assistant<|channel|>analysis<|message|>Hm."
        ),
        [c("I look."), r("Hm.")],
    ),
    "harmony-call": (
        "harmony",
        False,
        (
            "<|channel|>analysis<|message|>Hm. <|end|><|start|>assistant<|channel|>commentary "
            'to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
        ),
        [
            r("Hm."),
            c(
                "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json"
                '<|message|>{"a": 1}<|call|>',
            ),
        ],
    ),
    "harmony-call-then-final": (
        "harmony",
        False,
        (
            "<|channel|>commentary to=functions.f<|message|> {} <|call|>"
            "<|start|>assistant<|channel|>final<|message|>Yes."
        ),
        [c("<|channel|>commentary to=functions.f<|message|> {} <|call|>Yes.")],
    ),
    "harmony-recipient-first": (
        "harmony",
        False,
        " to=functions.f<|channel|>commentary json<|message|>{}",
        [c("to=functions.f<|channel|>commentary json<|message|>{}")],
    ),
    "harmony-no-channel": (
        "harmony",
        False,
        "<|message|>Yes.<|end|><|start|>assistant<|message|>No.",
        [c("Yes.No.")],
    ),
    "harmony-plain": ("harmony", False, "Just text.", [c("Just text.")]),
    "harmony-opened": (
        "harmony",
        True,
        "Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        [r("Hm."), c("Yes.")],
    ),
    "harmony-cut-header": ("harmony", False, "<|channel|>ana", [c("<|channel|>ana")]),
    "harmony-cut-later": (
        "harmony",
        False,
        "<|channel|>analysis<|message|>a<|end|><|start|>assist",
        [r("a"), c("<|start|>assist")],
    ),
    "harmony-no-header": (
        "harmony",
        False,
        "<|start|>" + "x" * 300 + "<|message|>",
        [c("<|start|>" + "x" * 300 + "<|message|>")],
    ),
    "harmony-unclosed": ("harmony", False, "<|channel|>analysis<|message|>Hm. ", [r("Hm. ")]),
}

SHORT = {case: sample for case, sample in SAMPLES.items() if len(sample[2]) < 70}

ARGUMENTS = ("name", "is_open", "text", "expected")
samples = pytest.mark.parametrize(ARGUMENTS, SAMPLES.values(), ids=SAMPLES)
short_samples = pytest.mark.parametrize(ARGUMENTS, SHORT.values(), ids=SHORT)


def parse(name, is_open, pieces):
    """Feed bytes as a model would emit them; return the events, neighbours of one kind merged."""
    decoder, parser = TextDecoder(), ReasoningParser(name, opened=is_open)
    events = [event for piece in pieces for event in parser.feed(decoder.feed(piece))]
    events += parser.feed(decoder.flush()) + parser.flush()
    assert all(event.text for event in events)
    merged = itertools.groupby(events, key=type)
    return [kind("".join(event.text for event in group)) for kind, group in merged]


@samples
def test_sample_in_one_piece(name, is_open, text, expected):
    """An answer that comes whole is read as its format says."""
    assert parse(name, is_open, [text.encode()]) == expected


@samples
def test_sample_split_at_every_byte(name, is_open, text, expected):
    """Where the one cut falls changes nothing."""
    data = text.encode()
    for cut in range(len(data) + 1):
        assert parse(name, is_open, [data[:cut], data[cut:]]) == expected, data[:cut]


@short_samples
def test_sample_split_at_every_pair_of_bytes(name, is_open, text, expected):
    """Where two cuts fall changes nothing either."""
    data = text.encode()
    for i, j in itertools.combinations(range(1, len(data)), 2):
        assert parse(name, is_open, [data[:i], data[i:j], data[j:]]) == expected, (i, j)


@samples
def test_sample_byte_by_byte(name, is_open, text, expected):
    """A model may emit single bytes."""
    assert parse(name, is_open, [bytes([byte]) for byte in text.encode()]) == expected


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("is_open", [False, True])
def test_every_sequence_of_fragments_reads_the_same_whole_and_in_pieces(name, is_open):
    """Any order of markers, halves of markers, space and text depends on the text alone."""
    marks = {mark for state in FORMATS[name].states.values() for mark in state.targets}
    fragments = [*sorted(marks), "<|message|>", min(marks)[:4], " \n", "thought", "x"]
    for chosen in itertools.product(fragments, repeat=3):
        data = "".join(chosen).encode()
        whole = parse(name, is_open, [data])
        assert parse(name, is_open, [part.encode() for part in chosen]) == whole
        assert parse(name, is_open, [bytes([byte]) for byte in data]) == whole


def test_text_is_not_delayed():
    """Text that can be no marker is released with its token; only doubtful ends wait."""
    parser = ReasoningParser("think", opened=True)
    assert parser.feed("Well,") == [r("Well,")]
    assert parser.feed(" then <") == [r(" then")]
    assert parser.feed("3\n") == [r(" <3")]
    assert parser.feed("</think>Yes ") == [c("Yes ")]
    assert parser.feed("<think") == [c("<think")]
    assert parser.flush() == []


def test_one_feed_gives_one_delta_for_neighbours_of_a_kind():
    """Pieces that a marker parted are merged where both are content."""
    parser = ReasoningParser("channel", opened=False)
    assert parser.feed("a<|channel>final\nb<channel|>c") == [c("abc")]


def test_unknown_format_is_refused():
    """A format that is not in the table is a mistake of the caller's."""
    with pytest.raises(KeyError):
        ReasoningParser("nope", opened=False)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{% if '</think>' in content %}", "think"),
        ("{{ '<think>\\n\\n</think>\\n\\n' }}", "think"),
        ("[THINK]{{ block.thinking }}[/THINK]", "magistral"),
        ("{{ '<|START_THINKING|>' }}", "command_a"),
        ("<seed:think>{{ m.reasoning_content }}</seed:think>", "seed"),
        ("{{ '<|channel>thought\\n<channel|>' }}{{ '<|think|>' }}", "channel"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "harmony"),
        ("<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>", None),
        ("", None),
    ],
)
def test_format_is_seen_in_the_template(template, name):
    """The markers in a chat template show what the model writes."""
    assert detect(template) == name


@pytest.mark.parametrize(
    ("name", "prompt", "is_open"),
    [
        ("think", "<|im_start|>assistant\n<think>\n", True),
        ("think", "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("think", "<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n", False),
        ("channel", "<|turn>model\n<|channel>thought\n", True),
        ("channel", "<|turn>model\n<|channel>thought\n<channel|>", False),
        ("harmony", "<|start|>assistant", False),
        ("harmony", "<|start|>assistant<|channel|>analysis<|message|>", True),
    ],
)
def test_prompt_shows_whether_it_opened_reasoning(name, prompt, is_open):
    """Only what the prompt ends with counts, not what a message says."""
    assert opened(name, prompt) is is_open


@pytest.mark.parametrize(
    ("name", "prompt", "is_closed"),
    [
        ("think", "<|im_start|>assistant\n<think>\n\n</think>\n\n", True),
        ("think", "<|im_start|>assistant\n<think>\n", False),
        ("think", "<|im_start|>user\n</think><|im_end|>\n<|im_start|>assistant\n", False),
        ("channel", "<|turn>model\n<|channel>thought\n<channel|>", True),
        ("harmony", "<|start|>assistant", False),
    ],
)
def test_prompt_shows_whether_it_closed_reasoning(name, prompt, is_closed):
    """A prompt that ended the reasoning leaves none to come."""
    assert closed(name, prompt) is is_closed

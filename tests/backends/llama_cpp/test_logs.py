"""llama.cpp's log, piece by piece."""

import logging

import pytest

from pilotlight_llama_cpp import logs

DEBUG, INFO, WARN, ERROR, CONTINUATION = 1, 2, 3, 4, 5


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, "pilotlight.llama_cpp")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_levels(lines):
    """What llama.cpp calls info is debug here; warnings and errors keep their rank."""
    log = logs.LogLines()
    for level in (DEBUG, INFO, WARN, ERROR):
        log.feed(level, f"line {level}\n")
    assert lines() == [
        ("DEBUG", "line 1"),
        ("DEBUG", "line 2"),
        ("WARNING", "line 3"),
        ("ERROR", "line 4"),
    ]


def test_continuation_is_joined(lines):
    """A line that comes in pieces is logged once, at the level of its first piece."""
    log = logs.LogLines()
    log.feed(WARN, "one")
    log.feed(CONTINUATION, ", two")
    log.feed(CONTINUATION, ", three\n")
    assert lines() == [("WARNING", "one, two, three")]


def test_line_that_is_never_ended(lines):
    """The next line ends it."""
    log = logs.LogLines()
    log.feed(WARN, "half")
    log.feed(INFO, "next\n")
    assert lines() == [("WARNING", "half"), ("DEBUG", "next")]


def test_dots_and_empty_lines_are_dropped(lines):
    """Progress drawn in dots is for terminals."""
    log = logs.LogLines()
    for _ in range(5):
        log.feed(CONTINUATION, ".")
    log.feed(CONTINUATION, "\n")
    log.feed(INFO, "\n")
    assert lines() == []


def test_first_error_is_kept(lines):
    """Of several errors the first is the cause."""
    log = logs.LogLines()
    log.feed(ERROR, "first\n")
    log.feed(ERROR, "second\n")
    log.feed(INFO, "third\n")
    assert log.first_error == "first"
    assert len(lines()) == 3


@pytest.mark.parametrize(
    ("line", "level", "fact"),
    [
        (
            "iswa: using full-size SWA cache (https://github.com/ggml-org/llama.cpp/pull/13194#c-1)\n",
            "INFO",
            "iswa: using full-size SWA cache",
        ),
        (
            "phi3: results might be bad (see https://github.com/ggml-org/llama.cpp/issues/1)\n",
            "INFO",
            "phi3: results might be bad",
        ),
        ("the V cache is padded (to 512)\n", "WARNING", "the V cache is padded (to 512)"),
    ],
)
def test_advice_to_its_developers_is_no_warning(lines, line, level, fact):
    """What refers to llama.cpp's own tracker is a fact of how it is used here."""
    logs.LogLines().feed(WARN, line)
    assert lines() == [(level, fact)]

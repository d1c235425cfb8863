"""llama.cpp's log, told to Python's."""

import ctypes
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger("pilotlight.llama_cpp")

_CONTINUATION = 5  # ggml_log_level in ggml.h: none, debug, info, warn, error, cont
_LEVELS = {
    0: logging.DEBUG,
    1: logging.DEBUG,
    2: logging.DEBUG,  # a load says some 200 lines at "info"; to an operator they are noise
    3: logging.WARNING,
    4: logging.ERROR,
}

_TRACKER = re.compile(r" *\([^()]*https://github\.com/ggml-org/llama\.cpp/(?:pull|issues)/[^()]*\)")
"""A reference to llama.cpp's own tracker, as warnings have it that advise its developers: "using
full-size SWA cache (https://…)" (llama-kv-cache-iswa.cpp), which is how we want it. The fact is
kept, and is no warning."""


class LogLines(threading.local):
    """The log of one thread: joins pieces to lines, and keeps the first error for who asks."""

    def __init__(self) -> None:
        self._level = logging.DEBUG
        self._text = ""
        self.first_error: str | None = None
        self.excused: Callable[[], bool] | None = None
        """Whether complaints are expected at the moment."""

    def feed(self, level: int, text: str) -> None:
        """Take a piece as llama.cpp gives it: a line, its beginning, or what continues it."""
        if level != _CONTINUATION:
            self.flush()
            self._level = _LEVELS.get(level, logging.DEBUG)
        self._text += text
        if self._text.endswith("\n"):
            self.flush()

    def flush(self) -> None:
        """End the line that is being joined."""
        line, self._text = self._text.rstrip(), ""
        if line.strip(" ."):  # a load also draws its progress in dots
            if self._level == logging.ERROR and self.first_error is None:
                self.first_error = line
            logger.log(self._rank(line), "%s", _TRACKER.sub("", line))

    def _rank(self, line: str) -> int:
        if self.excused is not None and self.excused():
            return logging.DEBUG
        if self._level == logging.WARNING and _TRACKER.search(line):
            return logging.INFO
        return self._level


_lines = LogLines()


def _receive(level: int, text: bytes | None, _user_data: int | None) -> None:
    _lines.feed(level, (text or b"").decode("utf-8", "replace"))


# Kept for the life of the process: llama.cpp holds the bare pointer.
_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_receive)


def install(library: Any) -> None:
    """Send llama.cpp's and ggml's log here."""
    library.llama_log_set(ctypes.cast(_callback, library.llama_log_callback), None)


class excused:  # noqa: N801 - a context manager; a generator would cost a microsecond a step
    """Log the calling thread's complaints as debugging while the block runs and *when* says so."""

    __slots__ = ("_when",)

    def __init__(self, when: Callable[[], bool]) -> None:
        self._when = when

    def __enter__(self) -> None:
        """Begin."""
        _lines.excused = self._when

    def __exit__(self, *_: object) -> None:
        """End."""
        _lines.excused = None


class Complaint:
    """What llama.cpp said was wrong, in its own words without the function's name.

    Of several errors the first is the cause; those that follow say that it failed.
    """

    @property
    def text(self) -> str:
        """The error, or a word for its absence."""
        line = _lines.first_error or "llama.cpp logged no reason"
        function, colon, rest = line.partition(": ")
        return rest if colon and " " not in function else line


@contextmanager
def complaint() -> Iterator[Complaint]:
    """Collect the calling thread's errors while the block runs."""
    _lines.first_error = None
    yield Complaint()

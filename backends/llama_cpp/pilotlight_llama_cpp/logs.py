"""Send llama.cpp's log to Python's logging."""

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
    2: logging.DEBUG,  # "info": a load logs some 200 such lines, which are noise to an operator
    3: logging.WARNING,
    4: logging.ERROR,
}

_TRACKER = re.compile(r" *\([^()]*https://github\.com/ggml-org/llama\.cpp/(?:pull|issues)/[^()]*\)")
"""A link to llama.cpp's issue tracker, in warnings for its developers: "using full-size SWA cache
(https://…)" (llama-kv-cache-iswa.cpp), which is what this backend asks for. Such a line is logged
at level INFO, without the link."""


_EXPECTED = re.compile(
    r"non-consecutive token position|--image-min-tokens|image tokens to function|issues/16842"
)
"""Warnings that are logged at level INFO: the positions of M-RoPE behind an image
(llama-memory-recurrent.cpp), and advice to use an option of llama-server's (clip.cpp)."""


class LogLines(threading.local):
    """The log of one thread: joins pieces into lines, and keeps the first error for `complaint`."""

    def __init__(self) -> None:
        self._level = logging.DEBUG
        self._text = ""
        self.first_error: str | None = None
        self.excused: Callable[[], bool] | None = None
        """Returns whether errors are expected at the moment."""

    def feed(self, level: int, text: str) -> None:
        """Take a piece from llama.cpp: a line, its start, or a continuation."""
        if level != _CONTINUATION:
            self.flush()
            self._level = _LEVELS.get(level, logging.DEBUG)
        self._text += text
        if self._text.endswith("\n"):
            self.flush()

    def flush(self) -> None:
        """Log the line that is being joined."""
        line, self._text = self._text.rstrip(), ""
        if line.strip(" ."):  # a load also logs its progress as dots
            if self._level == logging.ERROR and self.first_error is None:
                self.first_error = line
            logger.log(self._rank(line), "%s", _TRACKER.sub("", line))

    def _rank(self, line: str) -> int:
        if self.excused is not None and self.excused():
            return logging.DEBUG
        if self._level == logging.WARNING and (_TRACKER.search(line) or _EXPECTED.search(line)):
            return logging.INFO
        return self._level


_lines = LogLines()


def _receive(level: int, text: bytes | None, _user_data: int | None) -> None:
    _lines.feed(level, (text or b"").decode("utf-8", "replace"))


# llama.cpp keeps the bare pointer, so this must live as long as the process.
_callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_receive)


def install(library: Any) -> None:
    """Register the callback with llama.cpp and ggml."""
    library.llama_log_set(ctypes.cast(_callback, library.llama_log_callback), None)


def install_mtmd(library: Any) -> None:
    """Register the callback with llama.cpp's library for images."""
    # It covers `mtmd_log_set` too (mtmd-helper.cpp).
    library.mtmd_helper_log_set(_callback, None)


class excused:  # noqa: N801 - a context manager; a generator would cost a microsecond a step
    """Log what the calling thread logs in the block at level DEBUG while *when* returns True."""

    __slots__ = ("_when",)

    def __init__(self, when: Callable[[], bool]) -> None:
        self._when = when

    def __enter__(self) -> None:
        """Start."""
        _lines.excused = self._when

    def __exit__(self, *_: object) -> None:
        """End."""
        _lines.excused = None


class Complaint:
    """The error that llama.cpp logged, without the function's name.

    The first of several is the cause; the others say that the caller failed.
    """

    @property
    def text(self) -> str:
        """The error, or a note that none was logged."""
        line = _lines.first_error or "llama.cpp logged no reason"
        function, colon, rest = line.partition(": ")
        return rest if colon and " " not in function else line


@contextmanager
def complaint() -> Iterator[Complaint]:
    """Collect the errors that the calling thread logs in the block."""
    _lines.first_error = None
    yield Complaint()

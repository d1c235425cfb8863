"""Stopping a computation of llama.cpp from another thread, within one of its operations."""

import ctypes
from typing import Any

from pilotlight_llama_cpp import logs


class AbortFlag:
    """A flag that llama.cpp looks at after every operation of a graph.

    `set` and `clear` suit any thread.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._text = ctypes.create_string_buffer(2)
        # ggml calls back on a thread that computes, more than a hundred times a step. A callback in
        # Python would take the interpreter's lock each time, and wait for it: beside one busy
        # Python thread a step of `spark` took half as long again. C's strlen has the callback's
        # form, a pointer in and a number out, of which the low byte is read as a bool: it is 0 for
        # an empty text, and 1 for a text of one letter.
        self._callback = ctypes.cast(ctypes.CDLL(None).strlen, library.ggml_abort_callback)

    def watch(self, context: Any) -> None:
        """Stop what *context* computes once the flag is set: `llama_decode` returns 2."""
        self._library.llama_set_abort_callback(
            context, self._callback, ctypes.addressof(self._text)
        )

    def set(self) -> None:
        """Stop what is computed, and all that begins before `clear`."""
        self._text[0] = b"!"

    def clear(self) -> None:
        """Let the next computation run."""
        self._text[0] = b"\0"

    def is_set(self) -> bool:
        """Tell whether computations are to stop."""
        return self._text[0] != b"\0"

    def decode(self, context: Any, batch: Any) -> int:
        """Evaluate *batch*; return llama.cpp's status. That it was aborted is no fault to log."""
        with logs.excused(self.is_set):
            status: int = self._library.llama_decode(context, batch)
        return status

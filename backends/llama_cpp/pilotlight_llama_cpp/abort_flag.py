"""A flag that stops a computation of llama.cpp from another thread."""

import ctypes
from typing import Any

from pilotlight_llama_cpp import logs


class AbortFlag:
    """A flag that llama.cpp checks after every operation of a graph. Thread-safe."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._text = ctypes.create_string_buffer(2)
        # ggml calls back from a computing thread, more than a hundred times a step. A callback in
        # Python would wait for the GIL each time: beside one busy Python thread a step of `spark`
        # took half as long again. C's strlen has the callback's signature, a pointer in and a
        # number out, whose low byte is read as a bool: 0 for "", 1 for a text of one letter.
        self._callback = ctypes.cast(ctypes.CDLL(None).strlen, library.ggml_abort_callback)

    def watch(self, context: Any) -> None:
        """Let the flag stop what *context* computes: `llama_decode` then returns 2."""
        self._library.llama_set_abort_callback(
            context, self._callback, ctypes.addressof(self._text)
        )

    def set(self) -> None:
        """Stop the computation under way, and each one until `clear`."""
        self._text[0] = b"!"

    def clear(self) -> None:
        """Let the next computation run."""
        self._text[0] = b"\0"

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._text[0] != b"\0"

    def decode(self, context: Any, batch: Any) -> int:
        """Decode *batch* and return the status; an abort by this flag is not logged as an error."""
        with logs.excused(self.is_set):
            status: int = self._library.llama_decode(context, batch)
        return status

"""The likeliest token, without llama.cpp's chain of samplers.

For a chain llama.cpp makes an array of all tokens, also where the likeliest one alone is wanted:
0.22 ms a token with a vocabulary of 152,000, where numpy takes 0.02 ms. With sixteen streams that
is 3 ms of a step of 150 ms, in which one thread computes.
"""

import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotlight_backend.logits import Logits

_WORTH = 200_000_000
"""Logits behind which numpy pays: chains take 0.3 s for them, its import 0.1 to 0.2 s and 20 MB."""
_LARGE = 50_000
"""Tokens of a vocabulary for which numpy is imported while nothing runs, when that delays no
stream. With smaller ones its memory is not worth it."""


class Greedy:
    """Says from when on numpy is used. The engine's thread alone."""

    def __init__(self) -> None:
        self._seen = 0
        self._thread: threading.Thread | None = None
        self._is_ready = False

    def is_ready(self, logits: int) -> bool:
        """Return whether `likeliest` takes no time; to be asked for each row of so many *logits*.

        numpy is imported beside the engine's thread, since streams would wait for it.
        """
        if not self._is_ready and self._thread is None:
            self._seen += logits
            if self._seen >= _WORTH or "numpy" in sys.modules:
                self._begin()
        return self._is_ready

    def rest(self, vocabulary_size: int) -> None:
        """Use the time while nothing runs: import numpy for a large vocabulary.

        Not before the first request has ended: the start is to be short.
        """
        if self._thread is None and self._seen and vocabulary_size >= _LARGE:
            self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._import, name="llama.cpp numpy", daemon=True)
        self._thread.start()

    def _import(self) -> None:
        import numpy  # noqa: F401, ICN001, PLC0415

        self._is_ready = True


def likeliest(logits: "Logits", bias: Mapping[int, float]) -> int:
    """Return the first of the tokens with the most of *logits* and *bias*; *logits* stay."""
    import numpy as np  # noqa: PLC0415

    if not bias:
        return int(logits.argmax())
    tokens = list(bias)
    before = logits[tokens]
    logits[tokens] = before + np.array(list(bias.values()), logits.dtype)
    token = int(logits.argmax())
    logits[tokens] = before
    return token

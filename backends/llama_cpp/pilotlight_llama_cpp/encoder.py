"""Encodes images, on the engine's thread or beside it, and keeps what was encoded last.

An encoding takes tenths of a second, or seconds, and mtmd can neither stop it nor run two at once
(its output is one buffer of the context). So they are made one after the other: beside streams on a
thread that lives as long as there are any, else on the engine's. OpenMP keeps a pool of threads for
each thread that has computed, and a pool too many slows everything (see `LlamaCppBackend.load`):
with SigLIP-base's shape on two threads, an image alone took a tenth longer beside the engine.
"""

import logging
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from pilotlight_backend import BackendError, EngineClosed, Image, InferenceFailed
from pilotlight_backend.prompt_cache.entry import owner_of

logger = logging.getLogger("pilotlight.llama_cpp")

Vectors: TypeAlias = "list[array[float]]"
"""The vectors of each patch of an image."""

KEPT_BYTES = 64 << 20
"""Vectors that are kept. One image of Gemma 3 4B takes 2.6 MB, a large one of Qwen2.5-VL 60 MB."""


class Encoding:
    """An image that is encoded, or waits for it; the engine's thread reads it."""

    __slots__ = ("digest", "done", "error", "image", "scope", "users", "vectors")

    def __init__(self, image: Image, scope: str) -> None:
        self.digest = image.digest
        self.scope = scope
        self.image: Image | None = image
        """None once it is encoded: pixels may take more than vectors."""
        self.users = 0
        """Requests that want it."""
        self.done = False
        self.vectors: Vectors = []
        self.error: BackendError | None = None


class Encodes(Protocol):
    """What encodes: `Projector`."""

    def encode(self, image: Image) -> Vectors:
        """Return the vectors of an image."""

    def close(self) -> None:
        """Free everything."""


class Counts(NamedTuple):
    """What was asked of an encoder since its start."""

    encoded: int
    reused: int


class Encoder:
    """The encodings of one projector. Any thread."""

    def __init__(
        self, projector: Encodes, wake: Callable[[], None], *, kept_bytes: int = KEPT_BYTES
    ) -> None:
        """*wake* is called after each encoding on a thread of the encoder's.

        *projector* is closed with the encoder.
        """
        self._projector = projector
        self._wake = wake
        self._most_bytes = kept_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, bytes], Encoding] = OrderedDict()
        """By scope and digest, the least recently used first: what waits, is made, or is kept."""
        self._queue: list[Encoding] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._encoded = self._reused = 0

    def counts(self) -> Counts:
        """Return what was asked."""
        return Counts(self._encoded, self._reused)

    def want(self, image: Image, scope: str = "") -> Encoding:
        """Return the encoding of *image*, which waits if it is not known. `release` it later.

        It is shared within a *scope*, as cached prompts are: encoding takes seconds, so the time of
        a response would tell a caller that another one has sent the image.
        """
        key = scope, image.digest
        with self._lock:
            encoding = self._known.get(key)
            if encoding is None:
                encoding = self._known[key] = Encoding(image, scope)
                self._queue.append(encoding)
            elif encoding.done:
                self._reused += 1
            encoding.users += 1
            self._known.move_to_end(key)
        return encoding

    def forget(self, owner: str | None) -> None:
        """Keep nothing of *owner*'s requests, or of any; those that run keep what they want."""
        with self._lock:
            for scope, digest in list(self._known):
                if owner is None or owner_of(scope) == owner:
                    del self._known[scope, digest]

    @property
    def is_waiting(self) -> bool:
        """Whether an image waits for `begin` or `encode_next`."""
        return bool(self._queue) and self._thread is None

    @property
    def is_encoding(self) -> bool:
        """Whether an image is encoded on another thread."""
        return self._thread is not None

    def begin(self) -> None:
        """Encode what waits, on another thread."""
        with self._lock:
            if self._queue and self._thread is None and not self._closing:
                self._thread = threading.Thread(
                    target=self._run, name="llama.cpp images", daemon=True
                )
                self._thread.start()

    def encode_next(self) -> None:
        """Encode the first image that waits, on this thread."""
        with self._lock:
            if self._thread is not None or not self._queue:
                return
            encoding = self._queue.pop(0)
        self._encode(encoding)

    def release(self, encoding: Encoding) -> None:
        """Note that a request is done with *encoding*: one that has not begun is not made."""
        with self._lock:
            encoding.users -= 1
            if not encoding.users and encoding in self._queue:
                self._queue.remove(encoding)
                self._drop(encoding)
            self._make_room()

    def _run(self) -> None:
        while (encoding := self._next()) is not None:
            self._encode(encoding)
            self._wake()

    def _encode(self, encoding: Encoding) -> None:
        try:
            if encoding.image is not None:
                encoding.vectors = self._projector.encode(encoding.image)
        except BackendError as error:
            encoding.error = error
        except Exception as error:
            logger.exception("an image cannot be encoded")
            encoding.error = InferenceFailed(f"the image cannot be encoded: {error}")
        with self._lock:
            self._finish(encoding)

    def _next(self) -> Encoding | None:
        with self._lock:
            if self._queue and not self._closing:
                return self._queue.pop(0)
            self._thread = None
            return None

    def _finish(self, encoding: Encoding) -> None:
        """Keep *encoding*. The lock is held."""
        encoding.done, encoding.image = True, None
        if encoding.error is None:
            self._encoded += 1
        else:  # the next request tries again
            self._drop(encoding)
        self._make_room()

    def _drop(self, encoding: Encoding) -> None:
        """Do not keep *encoding*; the lock is held. It may be forgotten, and made anew, already."""
        key = encoding.scope, encoding.digest
        if self._known.get(key) is encoding:
            del self._known[key]

    def _make_room(self) -> None:
        """Forget the least recently used that no request wants. The lock is held."""
        kept = sum(_size(one) for one in self._known.values())
        for key, one in list(self._known.items()):
            if kept <= self._most_bytes:
                return
            if one.done and not one.users:
                del self._known[key]
                kept -= _size(one)

    def close(self) -> None:
        """Free everything behind the encoding under way; what waits is not encoded."""
        with self._lock:
            self._closing = True
            waiting, self._queue = self._queue, []
            for one in waiting:
                one.error, one.done = EngineClosed("the engine is closed"), True
            self._known.clear()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._projector.close()


def _size(encoding: Encoding) -> int:
    return sum(len(one) * one.itemsize for one in encoding.vectors)

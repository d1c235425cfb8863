"""The images that a child process has: each is sent once, as long as requests use it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from pilotlight_backend.image import Image
from pilotlight_backend.types import GenerateRequest
from pilotlight_isolation import wire


def without_images(request: GenerateRequest) -> tuple[GenerateRequest, tuple[Image, ...]]:
    """Return *request* with -1 - n in the place of its nth image, and its images, each once."""
    numbers: dict[Image, int] = {}
    prompt = tuple(
        -1 - numbers.setdefault(part, len(numbers)) if isinstance(part, Image) else part
        for part in request.prompt
    )
    return (replace(request, prompt=prompt), tuple(numbers)) if numbers else (request, ())


def with_images(request: GenerateRequest, images: Sequence[Image]) -> GenerateRequest:
    """Return *request* with its *images* in their places."""
    if not images:
        return request
    prompt = (
        images[-1 - part] if isinstance(part, int) and part < 0 else part for part in request.prompt
    )
    return replace(request, prompt=tuple(prompt))


class SentImages:
    """Sends requests, each behind those of its images that the child lacks. Any thread."""

    def __init__(self, send: Callable[[wire.ToChild], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        """Held while messages with images are sent: their order is that of the counts."""
        self._users: Counter[bytes] = Counter()

    def send(self, message: wire.ToChild, images: Iterable[Image]) -> None:
        """Send the request *message*, which has *images*; `release` them later.

        If this raises, none of them is to be released.
        """
        with self._lock:
            used: list[bytes] = []
            try:
                for image in images:
                    if image.digest not in self._users:
                        self._send(wire.KeepImage(image))
                    self._users[image.digest] += 1
                    used.append(image.digest)
                self._send(message)
            except BaseException:
                self._release(used)
                raise

    def release(self, digests: Iterable[bytes]) -> None:
        """Note that a request with the images of *digests* has ended."""
        with self._lock:
            self._release(digests)

    def _release(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]
                self._send(wire.DropImage(digest))

"""Where the image of a request is: in the request itself, as base64, or at an address."""

import binascii
import re

from pilotlight.prompt.conversation import ImageReference
from pilotlight.prompt.images.errors import ImageRefused

_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_LONGEST_HEAD = 256
"""Characters before the comma of a data URL; a search without a bound could read megabytes."""
_SPACE = str.maketrans(dict.fromkeys("\t\n\r "))


def is_remote(image: ImageReference) -> bool:
    """Return whether *image* is elsewhere: its source is a URL, and not a `data:` URL."""
    source = image.source
    return isinstance(source, str) and not image.base64 and source[:5].lower() != "data:"


def file_of(image: ImageReference, max_bytes: int) -> bytes:
    """Return the bytes of *image*, which is not elsewhere; raises `ImageRefused`.

    Copies megabytes: run it on a thread.
    """
    source = image.source
    if isinstance(source, bytes):
        return source
    at = 0
    if not image.base64:
        head = _DATA_URL.match(source, 0, _LONGEST_HEAD)
        if head is None:
            raise ImageRefused("expected a data URL of base64: data:image/png;base64,…")
        at = head.end()
    length = (len(source) - at) * 3 // 4
    if length > max_bytes + max_bytes // 16:  # line breaks are a part of 77
        raise ImageRefused(f"the image has about {length:,} bytes, expected at most {max_bytes:,}")
    return _decoded(source[at:])


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(_padded(text), strict_mode=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        pass
    try:  # MIME breaks lines, and some encoders leave the padding out
        return binascii.a2b_base64(_padded(text.translate(_SPACE)), strict_mode=True)
    except (binascii.Error, ValueError):
        raise ImageRefused("the image is not valid base64") from None


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)

"""API keys: parse their entries, and find the name of a presented key.

No error contains any part of an entry, only its position: in a mistyped entry the key may be
anywhere.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_KEY = re.compile(r"[\x21-\x7e]+")
"""Visible ASCII: what a header can carry."""
_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_SHA256 = "sha256"


class InvalidKeys(Exception):
    """The keys cannot be used; the message has the position of the fault, and no key."""


class ApiKey(Struct, frozen=True):
    """A key by its name and the SHA-256 of its text."""

    name: str
    digest: bytes

    def __repr__(self) -> str:
        """Omit the digest, from which a short key could be guessed."""
        return f"ApiKey({self.name!r})"


def read_file(text: str, others: Sequence[ApiKey] = ()) -> tuple[ApiKey, ...]:
    """Return the keys in *text*: `name:key` or `name:sha256:HEX` a line, `#` begins a comment.

    None may repeat one of *others*, those of `api_keys`. Raises `InvalidKeys`.
    """
    lines = ((f"line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return _distinct(
        ((place, _named(place, line)) for place, line in lines if line and line[0] != "#"),
        others,
    )


def read_entries(text: str) -> tuple[ApiKey, ...]:
    """Return the keys in *text*: comma-separated entries as in a file, or keys without a name.

    A key without a name, or `sha256:HEX`, is called `key-` and its number in the list. Raises
    `InvalidKeys`.
    """
    entries = enumerate((entry.strip() for entry in text.split(",")), 1)
    return _distinct(_entries((number, entry) for number, entry in entries if entry), ())


def _entries(entries: Iterable[tuple[int, str]]) -> Iterator[tuple[str, ApiKey]]:
    for number, entry in entries:
        place = f"entry {number}"
        bare = ":" not in entry or entry.startswith(f"{_SHA256}:")
        yield place, (_key(place, f"key-{number}", entry) if bare else _named(place, entry))


def _named(place: str, entry: str) -> ApiKey:
    name, colon, key = (part.strip() for part in entry.partition(":"))
    if not colon or name == _SHA256:
        raise InvalidKeys(f"{place}: expected name:key or name:sha256:HEX")
    if not _NAME.fullmatch(name):
        raise InvalidKeys(
            f"{place}: expected a name of up to 64 letters, digits and . _ @ - that begins"
            " with a letter or a digit"
        )
    return _key(place, name, key)


def _key(place: str, name: str, key: str) -> ApiKey:
    if key.startswith(f"{_SHA256}:"):
        digits = key.removeprefix(f"{_SHA256}:")
        if not _HEX.fullmatch(digits):
            raise InvalidKeys(f"{place}: expected 64 hexadecimal digits after sha256:")
        return ApiKey(name, bytes.fromhex(digits))
    if not _KEY.fullmatch(key):
        raise InvalidKeys(f"{place}: expected a key of visible ASCII characters without spaces")
    return ApiKey(name, _digest(key.encode()))


def _distinct(found: Iterable[tuple[str, ApiKey]], others: Sequence[ApiKey]) -> tuple[ApiKey, ...]:
    names = dict.fromkeys((key.name for key in others), "api_keys")
    digests = dict.fromkeys((key.digest for key in others), "api_keys")
    keys = []
    for place, key in found:
        if key.name in names:
            raise InvalidKeys(f"{place}: its name is already used in {names[key.name]}")
        if key.digest in digests:
            raise InvalidKeys(f"{place}: its key is already used in {digests[key.digest]}")
        names[key.name] = digests[key.digest] = place
        keys.append(key)
    if not keys:
        raise InvalidKeys("it contains no key")
    return tuple(keys)


def name_of(presented: bytes, keys: Iterable[ApiKey]) -> str | None:
    """Return the name of the key that was *presented*, or None if it is unknown.

    Every key is compared, each in constant time, so that the time reveals nothing about any of
    them.
    """
    digest = _digest(presented)
    name = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            name = key.name
    return name


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def presented(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the keys that a request presents: after `Bearer`, and in `x-api-key`."""
    return frozenset(key for name, value in headers if (key := _presented(name, value)))


def _presented(name: bytes, value: bytes) -> bytes:
    if name == b"x-api-key":
        return value.strip()
    if name == b"authorization":
        scheme, _, key = value.strip().partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" else b""
    return b""

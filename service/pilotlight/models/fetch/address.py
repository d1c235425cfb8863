"""Parse the address of a model, `https://`, `hf://`, `s3://` or `gs://`, and place it. Pure."""

import re
from pathlib import Path
from typing import Literal, TypeAlias, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from pilotlight.config import ConfigError

Scheme: TypeAlias = Literal["https", "http", "hf", "s3", "gs"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,7}$")
"""The suffix of a file name. `qwen2.5-0.5b` has none: a digit follows its last dot."""
_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<suffix>\.gguf)")
"""A part of a split GGUF file, as llama.cpp names it (`llama_split_path`)."""
_LONGEST_NAME = 180
"""Bytes; file systems allow 255, and a fetch adds a prefix and a suffix."""


class Address(Struct, frozen=True):
    """A remote file or folder."""

    scheme: Scheme
    url: str
    """Without the fragment. It may contain secrets: a signature, a password."""
    sha256: str | None = None
    """The expected digest of the file, in lower-case hexadecimal digits."""
    also: tuple[str, ...] = ()
    """Further URLs, of files that go into the folder of a split file."""

    def __str__(self) -> str:
        """Return the address without its possible secrets: credentials and query."""
        if self.scheme not in ("https", "http"):
            return self.url
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    @property
    def last(self) -> str:
        """The name of the file or folder."""
        path = unquote(urlsplit(self.url).path) if self.scheme in ("https", "http") else self.url
        last = path.rstrip("/").rpartition("/")[2]
        return last.partition("@")[0] if self._is_repository else last

    @property
    def _is_repository(self) -> bool:
        return self.scheme == "hf" and self.url.rstrip("/").count("/") == 3  # noqa: PLR2004 - hf://owner/repo

    @property
    def names_folder(self) -> bool:
        """Whether it says itself that it is a folder; any address without a suffix may be one."""
        return self._is_repository or self.url.endswith("/")

    @property
    def is_split(self) -> bool:
        """Whether it is a part of a split GGUF file."""
        return _PART.fullmatch(self.last) is not None

    def parts(self) -> list[str]:
        """Return the URLs to fetch: all parts of a split GGUF file and `also`, else this one."""
        part = _PART.fullmatch(self.last)
        if part is None:
            return [self.url]
        before, this, after = self.url.rpartition(f"-{part['number']}-of-{part['count']}")
        numbers = range(1, int(part["count"]) + 1)
        return [*(f"{before}-{number:05}{this[6:]}{after}" for number in numbers), *self.also]


class Place(Struct, frozen=True):
    """The local path of a fetched model."""

    root: Path
    """The file or folder that is moved into place once complete."""
    model: Path
    """The path to load: *root*, or the first part of a split file in it."""


class Origin(Struct, frozen=True):
    """An address, and the file or folder that it becomes."""

    address: Address
    root: Path
    with_projector: bool = False
    """Whether the projector (mmproj) that the Hub has near the file comes with it."""


def is_address(text: str) -> bool:
    """Return whether *text* is an address and not a path."""
    return _ADDRESS.match(text.strip()) is not None


def parse_address(text: str, sha256: str | None = None) -> Address:
    """Parse an address; its sha256 may be the fragment `#sha256=HEX`, or *sha256*.

    Raises `ConfigError`, without secrets in its message.
    """
    url, _, fragment = text.strip().partition("#")
    scheme, colon, _ = url.partition("://")
    scheme = scheme.lower()
    if scheme not in get_args(Scheme):
        known = ", ".join(f"{one}://" for one in get_args(Scheme) if one != "http")
        what = f"{scheme}:// is not supported" if colon else "got a path"
        raise ConfigError(f"{what}; expected an address: {known}")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise ConfigError(f"{scheme}://: invalid host or port") from None
    address = Address(scheme, url, _sha256(fragment, sha256))  # type: ignore[arg-type]
    if reason := _objection(address, parts):
        raise ConfigError(f"{address}: {reason}")
    return address


def _sha256(fragment: str, given: str | None) -> str | None:
    key, _, value = fragment.partition("=")
    if fragment and key != "sha256":
        raise ConfigError("the fragment of an address must be #sha256=HEX")
    stated = {
        one.strip().lower() for one in (value if fragment else None, given) if one is not None
    }
    if any(not _SHA256.fullmatch(one) for one in stated):
        raise ConfigError("a sha256 must have 64 hexadecimal digits")
    if len(stated) > 1:
        raise ConfigError("the sha256 in the address differs from the one given beside it")
    return next(iter(stated), None)


def _objection(address: Address, parts: SplitResult) -> str | None:
    """Return why *address* cannot be fetched; None if it can."""
    part = _PART.fullmatch(address.last)
    if any(char <= " " or char == "\x7f" for char in address.url):
        return "it contains a space or a control character"
    if part and not 1 <= int(part["number"]) <= int(part["count"]):
        return f"there is no part {part['number']} of {part['count']}"
    if part and address.sha256:
        return "a sha256 cannot be given for several files"
    if address.scheme in ("https", "http"):
        return _objection_to_url(address, parts)
    return _objection_to_path(address)


def _objection_to_url(address: Address, parts: SplitResult) -> str | None:
    if not parts.hostname:
        return "the host is missing"
    if address.scheme == "http" and parts.hostname not in _LOOPBACK:
        return "http:// is allowed for this machine only; use https://"
    if parts.path.endswith("/") or not address.last:
        return "it names no file; https:// fetches a single file"
    return None


def _objection_to_path(address: Address) -> str | None:
    below = address.url.partition("://")[2].rstrip("/").split("/")
    if "" in below or "." in below or ".." in below:
        return "a segment of the path is empty, . or .."
    if len(below) < 2:  # noqa: PLR2004 - hf://owner/repo, s3://bucket/key
        return "it names no repository" if address.scheme == "hf" else "it names no key"
    if any(char in address.url for char in "*?["):
        return "patterns are not supported; name a file or a folder"
    return None


def projector_origin(text: str, folder: Path, model: str) -> Origin:
    """Return the origin in *folder* of the projector at the address *text*, for the model *model*.

    Raises `ConfigError`.
    """
    address = parse_address(text)
    if address.is_split or address.names_folder:
        raise ConfigError(f"{address}: expected the address of one file")
    return Origin(address, place(address, folder, f"mmproj-{model}").root)


def place(address: Address, folder: Path, name: str | None = None) -> Place:
    """Return the path in *folder* for the model of *address*; *name* is without the suffix.

    It needs no request: a server that has the model starts without the network. Raises
    `ConfigError` for an invalid file name.
    """
    if folder.parts[:1] == ("~",):
        raise ConfigError(f"{address}: there is no home folder; set --models-dir")
    last = address.last
    part = _PART.fullmatch(last)
    suffix = "" if part or address.url.endswith("/") else "".join(_SUFFIX.findall(last))
    stem = part["stem"] if part else last.removesuffix(suffix)
    stem = stem if name is None else name.strip().replace("/", "--")
    if suffix and stem.lower().endswith(suffix.lower()):
        stem = stem[: -len(suffix)]
    if not stem or stem.startswith(".") or not stem.isprintable() or "/" in stem:
        raise ConfigError(f"{address}: {stem!r} is not a valid file name; choose another name")
    if len(stem.encode()) > _LONGEST_NAME:
        raise ConfigError(f"{address}: the name is longer than {_LONGEST_NAME} bytes")
    root = folder / (stem + suffix)
    if part is None:
        return Place(root, root)
    return Place(root, root / f"{part['stem']}-00001-of-{part['count']}{part['suffix']}")

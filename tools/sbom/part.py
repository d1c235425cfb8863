"""Components of the document besides Python's distributions."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

_COMMIT = re.compile(r"([0-9a-f]{7,40})(-dirty)?")


@dataclass(frozen=True)
class Part:
    """One thing with a version, and where it is: *inside* is a distribution's normalised name."""

    name: str
    version: str | None
    purl: str | None = None
    license_id: str | None = None
    cpe: str | None = None
    inside: str | None = None
    sha256: str | None = None  # of a file without a version


@dataclass(frozen=True)
class System:
    """An operating system and the packages that it has installed."""

    name: str
    version: str
    packages: tuple[Part, ...]


def purl(kind: str, *names: str, version: str | None, **qualifiers: str) -> str:
    """Return a package URL (purl-spec, `pkg:kind/namespace/name@version?qualifiers`)."""
    text = f"pkg:{kind}/" + "/".join(quote(name, safe="") for name in names)
    if version:
        text += "@" + quote(version, safe=":")
    if qualifiers:
        text += "?" + "&".join(f"{key}={quote(qualifiers[key])}" for key in sorted(qualifiers))
    return text


def llama_cpp(version: str, ggml_version: str, commit: str) -> Iterable[Part]:
    """Return llama.cpp and its ggml, by what they say of themselves.

    The commit is `unknown` where git was not there to ask when they were compiled.
    """
    known = _COMMIT.fullmatch(commit)
    at = purl("github", "ggml-org", "llama.cpp", version=known.group(1) if known else None)
    # A version alone is ambiguous: many commits have the same.
    suffix = f"+{known.group(1)}" if known else ""
    inside = "llama-cpp-python"
    yield Part("llama.cpp", version + suffix, at, "MIT", inside=inside)
    yield Part("ggml", ggml_version + suffix, f"{at}#ggml", "MIT", inside=inside)


def microsoft(repository: str, version: str) -> Part:
    """Return the native library that the distribution of the same name wraps."""
    at = purl("github", "microsoft", repository, version=f"v{version}")
    return Part(f"lib{repository}", version, at, "MIT", inside=repository)


def cpython(version: str) -> Part:
    """Return the interpreter: one that was compiled for the image is in no package."""
    return Part(
        "python",
        version,
        purl("generic", "python", version=version),
        "Python-2.0",
        f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    )

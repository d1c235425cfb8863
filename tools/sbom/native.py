"""The native libraries inside an environment's distributions, asked for their versions."""

import ctypes
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.sbom.part import Part, System, llama_cpp, microsoft

_VERSIONED = re.compile(r"libonnxruntime\.so\.(\d+\.\d+\.\d+)")


def inside(packages: Path, versions: Mapping[str, str], copied_from: System | None) -> list[Part]:
    """Return the parts in the folder *packages*; *versions* are its distributions'.

    *copied_from* is the system that `slim.sh` took libgomp from, None where it took none.

    Raises:
        OSError: a library cannot be loaded, so the environment could not serve either

    """
    return [
        *_llama_cpp(packages / "llama_cpp/lib"),
        *_copied(packages / "llama_cpp/lib", copied_from),
        *_onnxruntime(packages / "onnxruntime/capi"),
        # Its library has no version; the wheel and the library are built of one tree.
        *(microsoft(name, versions[name]) for name in ["onnxruntime-genai"] if name in versions),
        *_moved(packages),
    ]


def _llama_cpp(folder: Path) -> Iterable[Part]:
    base = sorted(folder.glob("libggml-base.so*"))
    if base:
        ggml = ctypes.CDLL(str(base[0]))
        llama = ctypes.CDLL(str(folder / "libllama.so"))
        yield from llama_cpp(
            _told(llama, "llama_version"), _told(ggml, "ggml_version"), _told(ggml, "ggml_commit")
        )


def _told(library: ctypes.CDLL, function: str) -> str:
    ask = library[function]
    ask.restype = ctypes.c_char_p
    text: bytes = ask()
    return text.decode()


def _copied(folder: Path, system: System | None) -> Iterable[Part]:
    if system and (folder / "libgomp.so.1").is_file():
        for package in system.packages:
            if package.name == "libgomp1":
                yield Part(package.name, package.version, package.purl, inside="llama-cpp-python")


def _onnxruntime(folder: Path) -> Iterable[Part]:
    # Its name, and not the library: loading that one starts its telemetry.
    for path in folder.glob("libonnxruntime.so.*"):
        if versioned := _VERSIONED.fullmatch(path.name):
            yield microsoft("onnxruntime", versioned.group(1))


def _moved(packages: Path) -> Iterable[Part]:
    """Yield what auditwheel put beside a distribution: libraries that say no version."""
    for path in sorted(packages.glob("*.libs/*.so*")):
        name = path.parent.name.removesuffix(".libs").replace("_", "-").lower()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield Part(f"{path.parent.name}/{path.name}", None, inside=name, sha256=digest)

"""Native libraries inside distributions: what they say of themselves, and what is beside them."""

import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from tools.sbom import native
from tools.sbom.part import Part, System, llama_cpp

PACKAGES = Path(sysconfig.get_path("purelib"))
GOMP = Part("libgomp1", "12.2.0-14", "pkg:deb/debian/libgomp1@12.2.0-14")
DEBIAN = System("debian", "12", (Part("adduser", "3.134"), GOMP))


def file(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_llama_cpp_is_told_with_its_commit():
    """Compiled from a checkout with a change, the commit is the one before it."""
    assert list(llama_cpp("0.5.0-dev", "0.25.3", "0c1e570-dirty")) == [
        Part(
            "llama.cpp",
            "0.5.0-dev+0c1e570",
            "pkg:github/ggml-org/llama.cpp@0c1e570",
            "MIT",
            inside="llama-cpp-python",
        ),
        Part(
            "ggml",
            "0.25.3+0c1e570",
            "pkg:github/ggml-org/llama.cpp@0c1e570#ggml",
            "MIT",
            inside="llama-cpp-python",
        ),
    ]


@pytest.mark.parametrize("commit", ["unknown", "", "not a commit"])
def test_a_commit_that_is_not_known_is_not_made_up(commit):
    first, second = llama_cpp("0.5.0-dev", "0.25.3", commit)
    assert (first.version, first.purl) == ("0.5.0-dev", "pkg:github/ggml-org/llama.cpp")
    assert (second.version, second.purl) == ("0.25.3", "pkg:github/ggml-org/llama.cpp#ggml")


def test_the_libraries_that_are_installed_here():
    """The real ones: llama.cpp answers, and ONNX Runtime's file has its distribution's version."""
    names = ["llama-cpp-python", "onnxruntime", "onnxruntime-genai"]
    parts = native.inside(PACKAGES, {name: version(name) for name in names}, None)
    told = {part.name: part for part in parts}
    assert told["llama.cpp"].inside == told["ggml"].inside == "llama-cpp-python"
    (base,) = (PACKAGES / "llama_cpp/lib").glob("libggml-base.so.*.*.*")
    number = base.name.removeprefix("libggml-base.so.")
    assert (told["ggml"].version or "").partition("+")[0] == number
    assert told["libonnxruntime"].version == version("onnxruntime")
    assert told["libonnxruntime-genai"].version == version("onnxruntime-genai")


def test_an_environment_without_native_libraries_has_no_parts(tmp_path):
    assert native.inside(tmp_path, {"litestar": "2.25.0"}, DEBIAN) == []


def test_a_copied_libgomp_is_the_packages_of_the_system_it_came_from(tmp_path):
    """The other packages of that system are not in the image."""
    file(tmp_path / "llama_cpp/lib/libgomp.so.1")
    (part,) = native.inside(tmp_path, {}, DEBIAN)
    assert (part.name, part.version, part.purl) == (GOMP.name, GOMP.version, GOMP.purl)
    assert part.inside == "llama-cpp-python"


def test_a_library_that_cannot_be_loaded_is_an_error(tmp_path):
    """Left out, the list would be wrong and look right."""
    file(tmp_path / "llama_cpp/lib/libggml-base.so", b"not a library")
    with pytest.raises(OSError, match=r"libggml-base\.so"):
        native.inside(tmp_path, {}, None)


def test_moved_libraries_are_told_by_their_content(tmp_path):
    """Their names are of auditwheel's making, and nothing has their versions."""
    file(tmp_path / "google_crc32c.libs/libcrc32c-7ebc40c5.so.1.1.0", b"abc")
    file(tmp_path / "google_crc32c.libs/README", b"no library")
    assert native.inside(tmp_path, {}, None) == [
        Part(
            "google_crc32c.libs/libcrc32c-7ebc40c5.so.1.1.0",
            None,
            inside="google-crc32c",
            sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        )
    ]

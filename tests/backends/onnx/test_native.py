"""Where the shared libraries are found, on this system and on others."""

from pathlib import Path

import pytest

from pilotlight_onnx import native

LINUX = ("libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so")
MACOS = ("libonnxruntime.1.32.0.dylib", "libonnxruntime_providers_shared.dylib")


@pytest.mark.parametrize(("system", "files"), [("linux", LINUX), ("darwin", MACOS)])
def test_the_runtime_is_found_by_the_systems_suffix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, files: tuple[str, str]
):
    monkeypatch.setattr(native.sys, "platform", system)
    for name in (*files, "onnxruntime_pybind11_state.so"):
        (tmp_path / name).touch()

    assert native.runtime_library(tmp_path).name == files[0]


def test_no_runtime_is_an_error_that_says_so(tmp_path: Path):
    (tmp_path / "libonnxruntime_providers_shared.so").touch()
    with pytest.raises(FileNotFoundError, match="no ONNX Runtime library in"):
        native.runtime_library(tmp_path)

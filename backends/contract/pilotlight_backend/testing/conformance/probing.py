"""Probing: what a backend says about files before anything is loaded."""
# ruff: noqa: S101 - the suite asserts

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from pilotlight_backend.errors import LoadFailed, ModelFileInvalid
from pilotlight_backend.protocols import Backend
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_backend.types import LoadOptions, ModelFacts

PROBE_DEADLINE = 5.0
"""Seconds; a probe takes milliseconds, and a busy machine takes its time too."""

PROBE_IN_A_NEW_PROCESS = """
import importlib, json, sys, sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "ctypes.dlopen" else None)

import pluggy
import pilotlight_backend

manager = pluggy.PluginManager(pilotlight_backend.PROJECT)
manager.add_hookspecs(importlib.import_module("pilotlight_backend.hookspecs"))
manager.register(importlib.import_module(sys.argv[1]))
[backend] = manager.hook.pilotlight_register_backend()
facts = backend.probe(Path(sys.argv[2]))

stdlib = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]

def is_native(name, module):
    path = Path(getattr(module, "__file__", None) or "")
    if not path.name.endswith(tuple(EXTENSION_SUFFIXES)) or name.split(".")[0] == "msgspec":
        return False
    inside = [path.relative_to(root).parts for root in stdlib if path.is_relative_to(root)]
    return not inside or any("site-packages" in parts for parts in inside)

print(json.dumps({
    "name": backend.name,
    "known": facts is not None,
    "opened": [str(name) for name in opened if name],
    "native": sorted(name for name, module in sys.modules.items() if is_native(name, module)),
}))
"""


class ProbeConformance(ConformanceFixtures):
    """`Backend.probe`, and what importing a plugin costs."""

    def test_backend_has_the_contracts_shape(self, backend: Backend) -> None:
        """A backend implements the protocol and has an identifier for a name."""
        assert isinstance(backend, Backend)
        assert backend.name.isidentifier()

    def test_probe_tells_the_facts(self, backend: Backend, model_path: Path) -> None:
        """A probe of the model returns facts that a service can plan with."""
        facts = within(lambda: backend.probe(model_path), PROBE_DEADLINE)
        assert isinstance(facts, ModelFacts)
        assert facts.path == model_path
        assert facts.architecture
        assert facts.architecture == facts.architecture.lower()
        assert facts.context_length > 0
        assert facts.size_bytes > 0
        assert facts.kv_bytes_per_token >= 0

    def test_probe_is_repeatable(self, backend: Backend, model_path: Path) -> None:
        """Two probes of the same files say the same."""
        assert backend.probe(model_path) == backend.probe(model_path)

    def test_probe_leaves_foreign_files_alone(self, backend: Backend, tmp_path: Path) -> None:
        """Files of another kind return None and raise nothing."""
        (tmp_path / "notes.txt").write_text("# Not a model\n")
        (tmp_path / "empty").touch()
        (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 64)
        (tmp_path / "folder").mkdir()
        for name in ("notes.txt", "empty", "noise.bin", "folder"):
            path = tmp_path / name
            assert within(partial(backend.probe, path), PROBE_DEADLINE) is None, name

    def test_truncated_model_is_found_out(
        self, backend: Backend, model_path: Path, options: LoadOptions, tmp_path: Path
    ) -> None:
        """A model cut short anywhere is unknown, or invalid, or at the latest fails to load."""
        copy, victim = copy_of(model_path, tmp_path)
        size = victim.stat().st_size
        lengths = {size - 1, size * 3 // 4, size // 2, size // 4, 4096, 256, 64, 16, 8, 4, 1, 0}
        for length in sorted((one for one in lengths if 0 <= one < size), reverse=True):
            os.truncate(victim, length)
            try:
                facts = within(partial(backend.probe, copy), PROBE_DEADLINE)
            except ModelFileInvalid as error:
                named = (copy.name in str(error)) or (victim.name in str(error))
                assert named, "the message names no file"
                continue
            if facts is not None:
                with pytest.raises((ModelFileInvalid, LoadFailed)):
                    within(partial(backend.load, facts, options, lambda _: None))

    def test_probe_survives_any_flipped_byte(
        self, backend: Backend, model_path: Path, tmp_path: Path
    ) -> None:
        """Damage to the header ends in facts, None or `ModelFileInvalid`, soon, and in no crash."""
        copy, victim = copy_of(model_path, tmp_path)
        with victim.open("r+b", buffering=0) as file:
            header = file.read(256)
            for offset, byte in enumerate(header):
                os.pwrite(file.fileno(), bytes([byte ^ 0xFF]), offset)
                with suppress(ModelFileInvalid):
                    within(partial(backend.probe, copy), PROBE_DEADLINE)
                os.pwrite(file.fileno(), bytes([byte]), offset)

    def test_import_and_probe_load_no_native_library(
        self, backend: Backend, plugin: str, model_path: Path
    ) -> None:
        """A new process that imports the plugin and probes has no native code of the backend's."""
        result = subprocess.run(  # noqa: S603 - our own interpreter and our own script
            [sys.executable, "-c", PROBE_IN_A_NEW_PROCESS, plugin, str(model_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == {
            "name": backend.name,
            "known": True,
            "opened": [],
            "native": [],
        }

    def test_embedded_model_is_known(self, backend: Backend) -> None:
        """The model that ships inside the plugin, if one does, is there and of its own kind."""
        path = backend.embedded()
        if path is not None:
            assert backend.probe(path) is not None


def copy_of(model_path: Path, folder: Path) -> tuple[Path, Path]:
    """Copy a model; return the copy, and the file in it to damage: its largest."""
    copy = folder / model_path.name
    if model_path.is_file():
        shutil.copyfile(model_path, copy)
        return copy, copy
    shutil.copytree(model_path, copy)
    files = [path for path in copy.rglob("*") if path.is_file()]
    return copy, max(files, key=lambda path: path.stat().st_size)

"""The plugins of the testing package, found and loaded as the service does it."""

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pluggy
import pytest

from pilotlight_backend import PROJECT, Backend, hookspecs


def plugin_manager() -> pluggy.PluginManager:
    """Return a manager that knows the contract's hook."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def test_fake_is_loaded_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed distribution that names the plugin gives a fake backend of that name."""
    metadata = tmp_path / "fake_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{PROJECT}]\nfake = pilotlight_backend.testing.plugin\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    [entry_point] = entry_points(group=PROJECT, name="fake")
    manager = plugin_manager()
    manager.register(entry_point.load())
    [backend] = manager.hook.pilotlight_register_backend()
    assert isinstance(backend, Backend)
    assert backend.name == "fake"


def test_broken_import_raises_on_import():
    """The plugin with a missing runtime raises when it is imported."""
    with pytest.raises(ImportError, match=r"libfake\.so"):
        importlib.import_module("pilotlight_backend.testing.broken_import")


def test_broken_hook_raises_when_it_is_called():
    """The plugin with a failing hook imports well, and its hook raises."""
    manager = plugin_manager()
    manager.register(importlib.import_module("pilotlight_backend.testing.broken_hook"))
    with pytest.raises(RuntimeError, match="no usable device"):
        manager.hook.pilotlight_register_backend()


def test_broken_backend_is_no_backend():
    """The plugin whose hook returns a wrong thing returns no backend."""
    manager = plugin_manager()
    manager.register(importlib.import_module("pilotlight_backend.testing.broken_backend"))
    [thing] = manager.hook.pilotlight_register_backend()
    assert not isinstance(thing, Backend)

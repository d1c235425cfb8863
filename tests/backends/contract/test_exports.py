"""What importing the contract gives, and what it costs."""

import json
import subprocess
import sys

import pytest

import pilotlight_backend
from pilotlight_backend import errors, guide, protocols, types


def public_names(module: object) -> set[str]:
    """Return the names that *module* itself defines for others."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a new process has after *statement*."""
    script = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", script]
    output = subprocess.check_output(command, text=True)
    return {name.partition(".")[0] for name in json.loads(output)}


def test_exported_names_are_sorted():
    """The exported names are listed once each: constants, then classes, then functions."""
    names = pilotlight_backend.__all__
    assert names == sorted(set(names), key=lambda name: (not name.isupper(), name))


def test_exported_names_exist():
    """Every exported name is an attribute."""
    assert all(hasattr(pilotlight_backend, name) for name in pilotlight_backend.__all__)


@pytest.mark.parametrize("module", [errors, guide, protocols, types], ids=lambda one: one.__name__)
def test_exported_names_are_complete(module):
    """Every class that the contract's modules define is exported."""
    assert public_names(module) <= set(pilotlight_backend.__all__)


def test_type_aliases_and_markers_are_exported():
    """The names that are no classes are exported too."""
    names = {"PROJECT", "EngineEvent", "FinishReason", "hookimpl", "hookspec"}
    assert names <= set(pilotlight_backend.__all__)


def test_import_brings_no_framework():
    """Importing the contract imports neither the service's framework nor pytest."""
    modules = modules_after("import pilotlight_backend")
    assert modules.isdisjoint({"litestar", "pytest", "_pytest", "pilotlight", "asyncio", "numpy"})


def test_import_of_the_fake_brings_no_pytest():
    """The fake runs where pytest is not installed; the conformance suite alone needs it."""
    modules = modules_after("import pilotlight_backend.testing.plugin")
    assert modules.isdisjoint({"litestar", "pytest", "_pytest", "pilotlight", "numpy"})

"""Modules that run at their first use."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pilotlight.server.deferred_modules import defer

BODY = """
import time
time.sleep(0.05)
from {name}.part import VALUE
DOUBLED = 2 * VALUE
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a package that takes a moment to run, and return its name."""
    name = f"deferred_{tmp_path.name}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(BODY.format(name=name))
    (folder / "part.py").write_text("VALUE = 21\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        del sys.modules[module]


def test_a_module_runs_when_an_attribute_is_read(package):
    defer([package])
    module = __import__(package)
    assert "DOUBLED" not in vars(module)
    assert f"{package}.part" not in sys.modules
    assert module.DOUBLED == 42
    assert sys.modules[package] is module


def test_a_submodule_is_imported_without_its_package(package):
    defer([package])
    part = __import__(f"{package}.part", fromlist=["VALUE"])
    assert part.VALUE == 21
    assert "DOUBLED" not in vars(sys.modules[package])


def test_a_submodule_that_is_deferred_is_an_attribute_of_its_package(package):
    name = f"{package}.part"
    defer([name])
    parent = sys.modules[package]
    assert "VALUE" not in vars(sys.modules[name])
    assert parent.part.VALUE == 21


def test_an_attribute_that_does_not_exist_is_an_attribute_error(package):
    defer([package])
    module = __import__(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'absent'"):
        _ = module.absent
    assert module.DOUBLED == 42


def test_threads_that_use_a_module_at_once_see_it_whole(package):
    defer([package])
    module = __import__(package)
    read: list[int] = []
    threads = [threading.Thread(target=lambda: read.append(module.DOUBLED)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert read == [42] * 8


def test_a_module_that_fails_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "deferred_broken.py").write_text("raise RuntimeError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer(["deferred_broken"])
    with pytest.raises(RuntimeError, match="broken"):
        _ = sys.modules.pop("deferred_broken").anything


def test_what_is_imported_or_not_installed_is_left_alone():
    before = sys.modules["pathlib"]
    defer(["pathlib", "deferred_nowhere"])
    assert sys.modules["pathlib"] is before
    assert "deferred_nowhere" not in sys.modules


WORKS = """
from pilotlight.server.deferred_modules import defer
defer()
import sys, pilotlight.server.app, pilotlight.server.http_server
from pilotlight.config import load_settings
pilotlight.server.app.create_app(load_settings({}))
UNUSED = {"click", "multiprocessing", "bdb", "yaml.reader", "attr._make"}
print(*sorted(UNUSED & set(sys.modules)), "and")
import attr, attrs, pdb, uvicorn, yaml
assert attrs.asdict(attr.make_class("A", ["x"])(1)) == {"x": 1}
from uvicorn import run
print(yaml.safe_load("a: 1"), pdb.Pdb.__name__, uvicorn.run is run, uvicorn.Server.__module__)
"""


def test_the_server_runs_none_of_them_and_they_work_when_used():
    output = subprocess.run(
        [sys.executable, "-c", WORKS], check=True, capture_output=True, text=True
    ).stdout
    assert output == "and\n{'a': 1} Pdb True uvicorn.server\n"

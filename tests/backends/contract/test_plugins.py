"""Entry points of plugins, read without `importlib.metadata`."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pilotlight_backend.hookspecs import PROJECT
from pilotlight_backend.plugins import Plugin, installed, parse


def write(folder: Path, distribution: str, text: str | bytes) -> None:
    """Write a distribution whose entry points are *text*."""
    info = folder / distribution
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[pilotlight]\na = one.two\n", [("a", "one.two")]),
        ("[pilotlight]\na=one:two.three\nb = four\n", [("a", "one:two.three"), ("b", "four")]),
        ("[console_scripts]\na = one:main\n[pilotlight]\nb = two\n", [("b", "two")]),
        ("[pilotlight]\nb = two\n\n[other]\na = one\n", [("b", "two")]),
        ("[ pilotlight ]\n# a = one\n; b = two\n  c = three  \n", [("c", "three")]),
        ("[pilotlight]\r\na = one [extra]\r\n", [("a", "one")]),
        ("a = one\n", []),
        ("", []),
    ],
)
def test_the_group_is_read(text: str, found: list[tuple[str, str]]):
    assert [(one.name, one.target) for one in parse(text, "pilotlight")] == found


def test_the_first_folder_of_the_path_comes_first(tmp_path: Path):
    write(tmp_path / "b", "z-1.dist-info", "[pilotlight]\na = first\n")
    write(tmp_path / "b", "a-1.egg-info", "[pilotlight]\nb = egg\n")
    write(tmp_path / "a", "a-1.dist-info", "[pilotlight]\na = second\n")
    (tmp_path / "b" / "empty-1.dist-info").mkdir()
    (tmp_path / "b" / "file.dist-info").write_text("")
    folders = [str(tmp_path / name) for name in ("b", "nowhere", "a")]
    assert [(one.name, one.target) for one in installed("pilotlight", folders)] == [
        ("b", "egg"),
        ("a", "first"),
        ("a", "second"),
    ]


def test_a_damaged_file_names_itself_and_hides_no_other(tmp_path: Path, caplog):
    write(tmp_path, "a-1.dist-info", b"[pilotlight]\na = \xff\n")
    write(tmp_path, "b-1.dist-info", "[pilotlight]\nb = two\n")
    assert [one.name for one in installed("pilotlight", [str(tmp_path)])] == ["b"]
    assert "a-1.dist-info" in caplog.text


def test_it_finds_what_the_standard_library_finds():
    """Including the distributions of this checkout, which are installed as editable."""
    expected = {(one.name, one.value) for one in entry_points(group=PROJECT)}
    assert {(one.name, one.target) for one in installed(PROJECT)} == expected
    assert len(expected) >= 2


def test_what_it_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "plugin_to_load.py").write_text("class A:\n    b = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Plugin("x", "plugin_to_load:A.b").load() == 3
    assert Plugin("x", "plugin_to_load").load() is sys.modules.pop("plugin_to_load")

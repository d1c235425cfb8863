"""The command `bench coldstart`: the settings that its server gets, and what it prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.cli import main
from pilotlight.cli.bench import cold_start
from pilotlight.cli.bench.cold_start import Start, StartFailed
from pilotlight_llama_cpp.backend import LlamaCppBackend

PHASES = {"import": 0.5, "begin": 0.4, "load": 0.3, "queue": 0.1, "prefill": 0.1}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what is measured, in place of which two starts are reported."""
    asked: dict[str, Any] = {}

    def measure(serve: list[str], **named: Any) -> Iterator[Start]:
        asked.update(named, serve=serve)
        yield Start("warm", 0.1, 1.0, PHASES, 0.5)
        yield Start("dropped", 0.2, 2.0, PHASES, 0.5)

    monkeypatch.setattr(cold_start, "measure", measure)
    return asked


def run(folder: Path, *flags: str) -> None:
    main(
        ["bench", "coldstart", f"--models-dir={folder}", f"--models-file={folder}/no.yaml", *flags]
    )


def test_a_table_and_a_chart_for_each_cache(measured, tmp_path, capsys, monkeypatch):
    """The server gets the settings that were given, and no other."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    run(tmp_path, "--rounds=2", "--prompt=Hi")
    printed = capsys.readouterr().out
    assert measured["serve"] == [f"--models-dir={tmp_path}", f"--models-file={tmp_path}/no.yaml"]
    assert (measured["model"], measured["prompt"], measured["rounds"]) == ("spark", "Hi", 2)
    assert measured["files"] is None
    assert measured["headers"] == {"Authorization": "Bearer sk-one"}
    assert printed.startswith("CACHE ")
    assert "\nwarm page cache, medians\n" in printed
    assert "\ndropped page cache, medians\n" in printed


def test_the_model_s_files_are_dropped(measured, tmp_path):
    run(tmp_path, "--drop-page-cache", "--backends=llama_cpp")
    assert measured["files"] == [LlamaCppBackend().embedded()]
    assert "--backends=llama_cpp" in measured["serve"]


def test_an_unknown_model_starts_no_server(measured, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "--model=nobody")
    assert "nobody" in str(ended.value.code)
    assert str(ended.value.code).startswith("pilotlight: ")
    assert measured == {}


def test_a_start_that_fails_is_one_line(tmp_path, monkeypatch):
    def measure(*_: Any, **__: Any) -> Iterator[Start]:
        raise StartFailed("the server did not listen within 60 s")
        yield

    monkeypatch.setattr(cold_start, "measure", measure)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path)
    assert ended.value.code == "pilotlight: the server did not listen within 60 s"

"""What the command line says of itself, and of a mistake in it."""

import re
from pathlib import Path

import msgspec
import pytest

from pilotlight.cli import main
from pilotlight.cli.parser import SHOWN_BY_BAKE, parse
from pilotlight.cli.settings_flags import flag_of
from pilotlight.config import Settings
from pilotlight_backend import LoadOptions

DOCS = Path(__file__).parents[2] / "docs"


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    return (ended.value.code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("serve", "Serve the models over HTTP."),
        ("openapi", "Write the OpenAPI document as YAML."),
    ],
)
def test_help_begins_with_the_usage_and_a_sentence(capsys, command, sentence):
    """The usage is a line or two: the settings are listed below it, each with its default."""
    status, output, _ = said(capsys, command, "--help")
    usage, described, *_ = output.split("\n\n")
    assert status == 0
    assert usage.startswith(f"usage: pilotlight {command} ")
    assert usage.count("\n") <= 1
    assert described == sentence
    assert "[PILOTLIGHT_PORT; 8080]" in output
    assert "[PILOTLIGHT_THREADS]" in output


def test_the_help_of_bake_has_the_settings_that_it_uses(capsys):
    """They include every option of a load; the others are accepted like those of `serve`."""
    status, output, _ = said(capsys, "bake", "--help")
    listed = set(re.findall(r"^  --([a-z_-]+) ", output, re.MULTILINE))
    shown = {name.replace("-", "_") for name in listed} & set(Settings.__struct_fields__)
    options = set(LoadOptions.__struct_fields__) & set(Settings.__struct_fields__)
    assert status == 0
    assert shown == SHOWN_BY_BAKE
    assert shown >= options - {"prompt_cache"}
    assert parse(["bake", "m", "--prompt", "p", "--port", "1"])["port"] == "1"


def test_the_help_of_clear_has_the_storage_alone(capsys):
    status, output, _ = said(capsys, "prompt-cache", "clear", "--help")
    assert status == 0
    assert re.findall(r"^  (--[a-z_-]+)", output, re.MULTILINE) == ["--state-dir"]


@pytest.mark.parametrize(
    ("flag", "end"),
    [
        ("--prot", "--prot; did you mean --port?"),
        ("--model-dir=/m", "--model-dir=/m; did you mean --models-dir?"),
        ("--quantum", "--quantum"),
    ],
)
def test_an_unknown_flag_has_a_suggestion_where_one_is_close(capsys, flag, end):
    """The status is 2, as for every command line that cannot be read."""
    status, output, errors = said(capsys, "serve", flag)
    assert (status, output) == (2, "")
    assert errors.endswith(f"pilotlight: error: unrecognized arguments: {end}\n")


def test_a_model_that_is_missing_is_listed_with_its_path(capsys, tmp_path):
    """A relative path begins at the folder of models.yaml, which the path shows."""
    file = tmp_path / "models.yaml"
    file.write_text("models: {mine: weights/m.gguf}", encoding="utf-8")
    main(["models", "--models-file", str(file), "--models-dir", str(tmp_path)])
    path = tmp_path / "weights" / "m.gguf"
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mine "))
    assert row.endswith(f"invalid: m.gguf: No such file or directory ({path})")


def test_a_missing_argument_is_told_below_a_short_usage(capsys):
    """What is missing is not pushed off the screen."""
    status, _, errors = said(capsys, "bake")
    assert status == 2
    assert errors.endswith("the following arguments are required: MODEL, --prompt\n")
    assert errors.count("\n") <= 3


def test_clearing_the_prompt_cache_counts_what_it_deletes(capsys, tmp_path):
    """States alone are deleted, and what killed writers left."""
    for number in range(2):
        (tmp_path / f"a-b-{number}.state").write_bytes(b"x" * 1_500_000)
    (tmp_path / "notes.txt").touch()
    main(["prompt-cache", "clear", "--state-dir", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}: deleted 2 files, 3.0 MB\n"
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_clearing_needs_a_storage(capsys, tmp_path):
    """None is an error, and so is one that is missing or cannot be listed."""
    status, output, _ = said(capsys, "prompt-cache", "clear")
    assert (status, output) == (
        "pilotlight: --state-dir is not set: expected a folder, gs://… or s3://…",
        "",
    )
    folder = tmp_path / ("x" * 300)
    status, _, _ = said(capsys, "prompt-cache", "clear", "--state-dir", str(folder))
    assert status == f"pilotlight: --state-dir {folder}: File name too long"
    missing = tmp_path / "missing"
    status, output, _ = said(capsys, "prompt-cache", "clear", "--state-dir", str(missing))
    assert (status, output) == (f"pilotlight: --state-dir {missing}: No such file or directory", "")
    assert not missing.exists()


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{one.name}" for one in DOCS.glob("*.md"))])
def test_pages_write_no_value_behind_a_switch(page):
    """`--page false` ends the start: a switch is turned off by `--no-page`."""
    fields = msgspec.structs.fields(Settings)
    switches = "|".join(flag_of(one) for one in fields if isinstance(one.default, bool))
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    assert not re.findall(rf"(?:{switches})[ =](?:true|false)\b", text)

"""The pages name commands, flags, variables and options that exist, and every option of a model."""

import argparse
import re
from pathlib import Path

import pytest

from pilotlight.cli.parser import build_parser
from pilotlight.config import PREFIX, Settings
from pilotlight.models.catalog import AdapterOptions, ModelOptions

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "infra/**/*.md", "infra/**/*.yaml", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
COMMAND = re.compile(r"(?:^|[\s`/])pilotlight ((?:[a-z-]+)(?: [^\n`|#;&]*)?)", re.MULTILINE)
FLAG = re.compile(r"(?<=\s)--[a-z][a-z0-9-]*")
MODULE = re.compile(r"python -m ((?:benchmarks|tests|tools)[\w.]*)")
TARGET = re.compile(r"(?:^|`)make ((?:[a-z][a-z_-]*(?: |\b))+)", re.MULTILINE)
VARIABLE = re.compile(rf"\b{PREFIX}([A-Z][A-Z_]*[A-Z])\b")
PARSER = build_parser()


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of *parser* by name."""
    groups = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return {name: command for group in groups for name, command in group.choices.items()}


def commands(text: str) -> list[tuple[argparse.ArgumentParser, str]]:
    """Return each command of `pilotlight` in *text*: its parser, and its line."""
    found = []
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        parser = PARSER
        for word in line.split():
            if (sub := subcommands(parser).get(word)) is None:
                break
            parser = sub
        if parser is not PARSER:  # else it is prose
            found.append((parser, line))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_variables_of_a_page_exist(page):
    """Each flag is one of its command, and each variable is a setting."""
    text = page.read_text("utf-8")
    for parser, line in commands(text):
        unknown = set(FLAG.findall(line)) - parser._option_string_actions.keys()
        assert not unknown, line
    unknown = {name.lower() for name in VARIABLE.findall(text)} - {"key"}  # a client's own, in docs
    assert unknown <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_targets_of_a_page_exist(page):
    """Those of `python -m`, and those of `make`."""
    text = page.read_text("utf-8")
    for name in MODULE.findall(text):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in {name for names in TARGET.findall(text) for name in names.split()}:
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_commands_are_found():
    """A line in a block of code, one in a sentence, one with a path and one over two lines."""
    text = (
        "pilotlight pull A --name b  # --not-a-flag\n"
        "Run `pilotlight prompt-cache clear --state-dir D`, and pilotlight is a server.\n"
        ".venv/bin/pilotlight serve \\\n    --port 1\n"
    )
    assert [(one.prog, FLAG.findall(line)) for one, line in commands(text)] == [
        ("pilotlight pull", ["--name"]),
        ("pilotlight prompt-cache clear", ["--state-dir"]),
        ("pilotlight serve", ["--port"]),
    ]


@pytest.mark.parametrize(
    ("page", "options"), [("models.md", ModelOptions), ("adapters.md", AdapterOptions)]
)
def test_every_option_of_models_yaml_is_documented(page, options):
    """As a word of code, or as a key in an example."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    missing = [
        name
        for name in options.__struct_fields__
        if not re.search(rf"`{name}[`:]|^\s*(?:- )?{name}:", text, re.MULTILINE)
    ]
    assert missing == []

"""The table of clients: the programs that this environment can run, and the page."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.clients.programs import SOURCES, Node
from tests.clients.table import page, scripts
from tests.clients.table.catalog import CLIENTS, Client
from tests.clients.table.outcome import Case, Outcome
from tests.clients.table.running import PROGRAMS, Run, reported
from tests.clients.table.serving import served

PAGE = Path(__file__).parents[2] / "docs/clients.md"
HERE = [client for client in CLIENTS if client.in_tests]
"""Whose packages the development environment has."""


def client(*packages: str, **fields: object) -> Client:
    """Return a client that is never run."""
    return Client(**{"name": "Some Client", "packages": packages, "run": "none.py"} | fields)


@pytest.mark.clients
@pytest.mark.parametrize("one", HERE, ids=lambda one: one.key)
def test_a_client_s_program(one: Client, tmp_path: Path):
    """Every case passes, and there are some."""
    folder = tmp_path / one.key / "folder"
    folder.mkdir(parents=True)
    with served([one], tmp_path) as url:
        binaries = Path(sys.executable).parent
        cases = Run(url, one.key, "none", binaries, folder, folder.parent).program(one.run)
    assert cases
    assert [case for case in cases if case.error is not None] == []


@pytest.mark.clients
def test_the_ai_sdk(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The same of a program for Node, with the packages that are locked for tests."""
    one = next(client for client in CLIENTS if client.run == "ai_sdk.mjs")
    with served([one], tmp_path) as url:
        for name, value in {"URL": url, "KEY": "none", "MODEL": one.key}.items():
            monkeypatch.setenv(f"CLIENT_{name}", value)
        cases = reported(node.run("node", node.add(PROGRAMS / one.run)))
    assert cases
    assert [case for case in cases if case.error is not None] == []


def test_the_ai_sdk_is_locked_in_the_table_s_version():
    """Both are the same packages, or the table would not be what tests try."""
    one = next(client for client in CLIENTS if client.run == "ai_sdk.mjs")
    locked = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    wanted = dict(package.rsplit("@", 1) for package in one.packages)
    assert {name: locked[name] for name in wanted} == wanted


def test_the_page_has_what_is_in_the_catalog():
    """A changed version needs another run of the client."""
    (table,) = re.findall(f"{page.BEGIN}\n(.*){page.END}", PAGE.read_text(), re.DOTALL)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    listed = [(name.partition(" (")[0], version) for name, version, *_ in rows]
    assert listed == [(one.name, one.version) for one in CLIENTS]


@pytest.mark.parametrize("one", CLIENTS, ids=lambda one: one.key)
def test_versions_are_exact(one: Client):
    """No package is whatever is new on the day."""
    exact = r"@?[\w./-]+@\d[\w.]*" if one.on_npm else r"[\w-]+(\[[\w,]+\])?==\d[\w.]*"
    assert [package for package in one.packages if not re.fullmatch(exact, package)] == []


@pytest.mark.parametrize(
    ("packages", "key", "version", "name"),
    [
        (("@scope/tool@1.2.3", "zod@4.0.0"), True, "1.2.3", "@scope/tool"),
        (("tool@1.2.3",), True, "1.2.3", "tool"),
        (("tool[extra]==1.2.3",), False, "1.2.3", "tool[extra]"),
    ],
)
def test_a_row(packages, key, version, name):
    """A row names the first package, its version, every case, and those that failed."""
    one = client(*packages)
    assert (one.on_npm, one.version) == (key, version)
    passed = page.row(one, Outcome(version, (Case("chat"), Case("stream"))))
    assert passed == f"| Some Client (`{name}`) | {version} | chat, stream | 2 of 2 pass |\n"
    failed = page.row(one, Outcome(version, (Case("chat"), Case("stream", "KeyError: x"))))
    assert failed.endswith("| chat, stream | 1 of 2 pass; fails: stream |\n")


def test_cases_of_one_kind_are_listed_once():
    """Prefixes that share their cases are named together; a case without one stands alone."""
    cases = ["chat: stream", "chat: tools", "plain", "responses: stream", "responses: tools"]
    assert page.listing(cases) == "chat · responses: stream, tools; plain"
    assert page.listing([*cases, "messages: tools"]).endswith("; messages: tools")


def test_the_table_goes_between_its_markers():
    """What is there is replaced, and what is around it stays; a second time changes nothing."""
    outcomes = {client("tool==1"): Outcome("1", (Case("a\\b"),))}
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    made = page.with_table(text, outcomes)
    assert made.startswith(f"before\n{page.BEGIN}\n| Client |")
    assert "a\\b" in made
    assert made.endswith(f"{page.END}\nafter\n")
    assert page.with_table(made, outcomes) == made


def test_a_call_is_written_as_the_template_writes_it():
    """The markup is the one that the server reads calls from."""
    text = scripts.call("Read", name="x")
    assert text == '<tool_call>\n{"name": "Read", "arguments": {"name": "x"}}\n</tool_call>'

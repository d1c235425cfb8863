"""The tables of the pages, as Markdown's renderers read them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "infra/**/*.md", "examples/**/*.md", "tools/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]


def cells(row: str) -> int:
    """Return how many cells *row* has: a bar in code ends a cell too, unless it is escaped."""
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def uneven(text: str) -> list[str]:
    """Return the rows that have not as many cells as the head of their table."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    rows = [table.splitlines() for table in tables]
    return [row for head, *body in rows for row in body if cells(row) != cells(head)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_have_the_cells_of_their_head(page):
    assert uneven(page.read_text("utf-8")) == []


def test_uneven_rows_are_found():
    table = "| a | b |\n| --- | --- |\n| `x|y` | 1 |\n| `x\\|y` | 2 |\n"
    assert uneven(f"Text.\n\n{table}\n```sh\n| code\n```\n") == ["| `x|y` | 1 |"]

"""The tables of docs/api.md, which tests hold to the wire types."""

import re
from pathlib import Path

_API = Path(__file__).parents[2] / "docs" / "api.md"


def documented(section: str, heading: str) -> set[str]:
    """Return the fields in the first column of the table *heading* in *section*."""
    text = _API.read_text()
    rest = text[text.index(f"\n## {section}\n") :]
    table = rest[rest.index(f"| {heading} | |") :].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for cell in first for name in re.findall("`([a-z_]+)`", cell)}

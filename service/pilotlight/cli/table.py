"""Tables as commands print them."""

from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print *rows*, which are of one length, in columns.

    A file's name may hold anything, such as what moves a terminal's cursor: that is escaped.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())  # noqa: T201 - a command's output


def printable(text: str) -> str:
    r"""Return *text* with what is not printable as an escape: `\x1b`, `\n`."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )

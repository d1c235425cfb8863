"""``python -m tools.release_notes VERSION``: print the changelog's section of a version."""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def section(changelog: str, version: str) -> str:
    """Return what *changelog* lists under *version*, without its heading.

    Raises `ValueError` where it has no such section, or an empty one.
    """
    parts = re.split(r"(?m)^## \[([^\]]+)\].*\n", changelog)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        if name == version and text.strip():
            return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md: no section for {version}")


def main() -> None:
    """Print the section, or exit with what is wrong."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the version
        sys.exit("usage: python -m tools.release_notes VERSION")
    try:
        sys.stdout.write(section(CHANGELOG.read_text(), sys.argv[1].removeprefix("v")))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

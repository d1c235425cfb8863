"""``python -m tools.version [NEW]``: print the project's version, or set it everywhere.

The root's pyproject.toml has the version. The five distributions are released together, so each
states it and requires the same version of the others, and the image's label has it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NUMBER = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"
_STATED = (
    re.compile(rf'(?m)^(version = "){_NUMBER}(?=")'),
    re.compile(rf'(?m)^(__version__ = "){_NUMBER}(?=")'),
    re.compile(rf'(image\.version="){_NUMBER}(?=")'),
    re.compile(rf'("pilotlight(?:-[a-z-]+)?==){_NUMBER}(?=")'),
)


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files that state the version, the one that decides first."""
    yield root / "pyproject.toml"
    yield from sorted(root.glob("backends/*/pyproject.toml"))
    yield root / "service/pilotlight/__init__.py"
    yield root / "Containerfile"


def stated(text: str) -> list[str]:
    """Return each version that *text* states."""
    return [
        found[0].removeprefix(found[1]) for pattern in _STATED for found in pattern.finditer(text)
    ]


def replaced(text: str, version: str) -> str:
    """Return *text* with *version* wherever it states one."""
    for pattern in _STATED:
        text = pattern.sub(rf"\g<1>{version}", text)
    return text


def current(root: Path = ROOT) -> str:
    """Return the version that the root's pyproject.toml states."""
    return stated((root / "pyproject.toml").read_text())[0]


def main() -> None:
    """Print the version, or set the one that is given."""
    match sys.argv[1:]:
        case []:
            sys.stdout.write(f"{current()}\n")
        case [version] if re.fullmatch(_NUMBER, version):
            for path in files():
                path.write_text(replaced(path.read_text(), version))
        case _:
            sys.exit("usage: python -m tools.version [MAJOR.MINOR.PATCH]")


if __name__ == "__main__":
    main()

"""The command line. Each heavy import stands inside its command: the port opens before them."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from pilotlight.cli.parser import parse
from pilotlight.config import ConfigError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that *argv* names; bad configuration is one line and a non-zero status."""
    arguments = parse(argv)
    command: Callable[[dict[str, Any]], None] = arguments.pop("command")
    try:
        command(arguments)
    except ConfigError as error:
        sys.exit(f"pilotlight: {error}")

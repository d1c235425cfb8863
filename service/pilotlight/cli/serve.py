"""The command that serves."""

from typing import Any

from pilotlight.config import load_settings


def serve(arguments: dict[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT. The port is open before anything heavy is imported."""
    from pilotlight.server import process  # noqa: PLC0415

    settings = load_settings(arguments)
    with process.listen(settings) as listener:
        process.run(settings, listener)

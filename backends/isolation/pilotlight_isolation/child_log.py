"""The log of an engine's process, which is the service's."""

import logging
from typing import Any

from pilotlight_backend.redaction import trace
from pilotlight_isolation import wire
from pilotlight_isolation.sender import Sender


class RedactingFormatter(logging.Formatter):
    """Formats a record with an exception's class and frames, without its message."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name and method
        """Return the exception's class and frames."""
        return "" if ei[1] is None else trace(ei[1])


class LogToService(logging.Handler):
    """Sends log records to the service's log."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._sender = sender
        self.setFormatter(RedactingFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record* with its traceback."""
        message = self.format(record).encode("utf-8", "replace").decode()
        self._sender.send(wire.Logged(record.name, record.levelno, message))

"""Logs: one line each on standard error, as text for people or as JSON for collectors."""

import logging
import sys
from datetime import UTC, datetime

import msgspec

from pilotlight.config import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the field names that Cloud Logging reads: severity, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "severity": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _encodable(text) for key, text in line.items()}).decode()


def _encodable(text: str) -> str:
    """Write out lone surrogates, which file names can hold and JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def configure_logging(settings: Settings) -> None:
    """Send the process's logs to standard error. Called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    handler.setFormatter(
        JsonFormatter() if as_json else logging.Formatter("%(levelname)-7s %(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    # uvicorn tells of its own start and stop, which `serve` has told already.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

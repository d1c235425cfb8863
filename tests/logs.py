"""What the service logs, line by line as it is written."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pilotlight.observability.logs import JsonFormatter


class Lines(logging.Handler):
    """Keeps each line as it is when it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def of(self, logger: str) -> list[dict[str, Any]]:
        """Return the fields of *logger*'s lines."""
        lines = map(json.loads, self.texts)
        return [line for line in lines if line["logger"] == logger]

    @property
    def access(self) -> list[dict[str, Any]]:
        return self.of("pilotlight.access")


@contextmanager
def logged(level: int = logging.DEBUG, *, name: str = "pilotlight") -> Iterator[Lines]:
    """Keep what *name* and the loggers below it write for as long as the context lasts."""
    logger = logging.getLogger(name)
    before, lines = logger.level, Lines()
    logger.addHandler(lines)
    logger.setLevel(level)
    try:
        yield lines
    finally:
        logger.setLevel(before)
        logger.removeHandler(lines)

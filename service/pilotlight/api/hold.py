"""How long a request waits for a loading model."""

import re
from collections.abc import Mapping

from pilotlight.errors import InvalidRequest

MOST = 45.0
"""Proxies cut silent connections after 50 s (HAProxy) or 60 s (nginx, ALB)."""

_WAIT = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*(\"?)(?P<seconds>[^\",;]*)\1\s*(?=$|[,;])", re.IGNORECASE
)


def hold_seconds(headers: Mapping[str, str], *, default: float) -> float:
    """Return the seconds that `Prefer: wait=N` (RFC 7240) asks for, or *default*.

    Raises `InvalidRequest` where N is no number of seconds: a client that asks for a wait should
    learn that it does not get it.
    """
    found = _WAIT.search(headers.get("prefer", ""))
    if not found:
        return default
    text = found["seconds"].strip()
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        raise InvalidRequest(f"Prefer: wait={text} is no number of seconds", param="Prefer")
    return min(float(text), MOST)

"""How long a request waits for a loading model."""

import re
from collections.abc import Mapping

MOST = 45.0
"""Proxies cut silent connections after 50 s (HAProxy) or 60 s (nginx, ALB)."""

_WAIT = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]+)?)\"?\s*(?:$|[,;])", re.IGNORECASE
)


def hold_seconds(headers: Mapping[str, str], *, default: float) -> float:
    """Return the seconds that `Prefer: wait=N` asks for, or *default*.

    A preference that cannot be understood is ignored, as RFC 7240 has it.
    """
    wait = _WAIT.search(headers.get("prefer", ""))
    return min(float(wait[1]), MOST) if wait else default

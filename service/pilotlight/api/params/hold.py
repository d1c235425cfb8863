"""How long a request waits for a loading model."""

import re
from collections.abc import Mapping

from pilotlight.models.loaded import FOREVER, Hold

MOST = 45.0
"""Proxies cut silent connections after 50 s (HAProxy) or 60 s (nginx, ALB)."""

_MARGIN = 2.0
"""Seconds before the client's own timeout in which a 503 still reaches it."""
_RETRIES = 2
"""Default of the OpenAI SDKs; the attempt with retry count 2 is the last."""

_WAIT = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]+)?)\"?\s*(?:$|[,;])", re.IGNORECASE
)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?")


def hold_of(
    headers: Mapping[str, str], *, default: float, to_the_end: bool, shows_loading: bool = False
) -> Hold:
    """Return how long the client waits by its headers, or else by the settings.

    `Prefer: wait=N` is decisive. Otherwise a request is held for *default* seconds, and the
    last attempt of an SDK for `MOST`, because the SDK gives up after a 503; in either case for less
    than the client's own timeout. A request with attempts left may get a 503 at once if its wait
    would be too short for the load. With *to_the_end* it may not: the platform takes the CPU away
    when no request waits.

    A stream that *shows_loading* is never silent, so by default it waits until the load ends.

    An invalid header is ignored (RFC 7240, 2).
    """
    wait = _WAIT.search(headers.get("prefer", ""))
    if wait:
        return Hold(min(float(wait[1]), MOST))
    if shows_loading:
        return Hold(FOREVER)
    last = (_number(headers, "x-stainless-retry-count") or 0) >= _RETRIES
    seconds = MOST if last else min(default, MOST)
    # openai-python sends its read timeout, openai-node the timeout of the call; both in seconds.
    timeouts = (
        _number(headers, name) for name in ("x-stainless-read-timeout", "x-stainless-timeout")
    )
    seconds = min([seconds, *(max(one - _MARGIN, 0.0) for one in timeouts if one is not None)])
    return Hold(seconds, may_give_up=not last and not to_the_end)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    value = headers.get(name, "").strip()
    return float(value) if _NUMBER.fullmatch(value) else None

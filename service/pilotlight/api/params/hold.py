"""How long a request waits for a loading model."""

import re
from collections.abc import Mapping

from pilotlight.models.loaded import FOREVER, Hold

MOST = 45.0
"""Proxies cut silent connections after 50 s (HAProxy) or 60 s (nginx, ALB)."""

_MARGIN = 2.0
"""Seconds before the client's own timeout in which a 503 still reaches it."""
_RETRIES = 2
"""Of the OpenAI SDKs by default; the attempt that says it is the second retry is the last."""

_WAIT = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]+)?)\"?\s*(?:$|[,;])", re.IGNORECASE
)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?")


def hold_of(
    headers: Mapping[str, str], *, default: float, to_the_end: bool, shows_loading: bool = False
) -> Hold:
    """Return what the client says of its patience, and what the settings say where it does not.

    `Prefer: wait=N` is the client's word. Else a request is held for *default* seconds, and the
    last attempt of an SDK as long as can be, since a 503 would be the end of it; in either case
    less than the client's own timeout. Only a request that has other attempts left may be answered
    at once where the wait would be in vain, and not where *to_the_end* says that its platform takes
    the CPU away once nobody waits.

    A stream that *shows_loading* is never silent, so it waits for as long as the load takes, where
    the client does not say otherwise.

    A header that cannot be understood is ignored, as RFC 7240 has it for `Prefer`.
    """
    wait = _WAIT.search(headers.get("prefer", ""))
    if wait:
        return Hold(min(float(wait[1]), MOST))
    if shows_loading:
        return Hold(FOREVER)
    last = (_number(headers, "x-stainless-retry-count") or 0) >= _RETRIES
    seconds = MOST if last else min(default, MOST)
    # openai-python tells its read timeout, openai-node the one that a call sets; both in seconds.
    timeouts = (
        _number(headers, name) for name in ("x-stainless-read-timeout", "x-stainless-timeout")
    )
    seconds = min([seconds, *(max(one - _MARGIN, 0.0) for one in timeouts if one is not None)])
    return Hold(seconds, may_give_up=not last and not to_the_end)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    value = headers.get(name, "").strip()
    return float(value) if _NUMBER.fullmatch(value) else None

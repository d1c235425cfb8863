"""Limit the wrong keys that an address may try a minute. Pure: times are passed in."""

import ipaddress
from collections import OrderedDict

_MINUTE = 60.0
_ADDRESSES = 4096
"""Addresses that are remembered; beyond them the one that failed longest ago is dropped."""
_SITE = 64
"""Prefix length of an IPv6 site: one client usually has all of its addresses."""


class FailedKeys:
    """A token bucket of wrong keys for each address: a minute's worth at once, refilled evenly.

    Refused attempts take no token, so the wait that they report is exact.
    """

    def __init__(self, per_minute: int, *, addresses: int = _ADDRESSES) -> None:
        """Limit nothing where *per_minute* is 0."""
        self._per_minute = per_minute
        self._addresses = addresses
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def fail(self, address: str | None, now: float) -> float:
        """Count a wrong key from *address*; return the seconds until the next attempt, 0 for none.

        None is a peer without an address, as of a Unix socket; all of these count as one.
        """
        if not self._per_minute:
            return 0.0
        site = _site(address)
        left, at = self._left.pop(site, (float(self._per_minute), now))
        left = min(left + (now - at) * self._per_minute / _MINUTE, float(self._per_minute))
        wait = max(1.0 - left, 0.0) * _MINUTE / self._per_minute
        self._left[site] = (left if wait else left - 1.0, now)
        if len(self._left) > self._addresses:
            self._left.popitem(last=False)
        return wait


def _site(address: str | None) -> str:
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped:  # how a socket that listens on :: sees IPv4
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known.packed, _SITE), strict=False))

"""Users that a proxy in front has signed in and sends in headers: authentik, oauth2-proxy."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from msgspec import Struct

from pilotlight.access.caller import Caller

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """Parse an address or a network in CIDR notation.

    Raises `ValueError`, also if bits are set after the prefix.
    """
    return ipaddress.ip_network(text)


class TrustedProxies(Struct, frozen=True, kw_only=True):
    """The peers whose headers are trusted, and the names of these headers."""

    networks: Sequence[Network]
    user_header: bytes
    groups_header: bytes
    separator: str
    """Separator between two groups."""

    def user(self, headers: Iterable[tuple[bytes, bytes]], peer: str | None) -> Caller | None:
        """Return the user in *headers*, lower-case names, if *peer* is trusted."""
        if peer is None or not self._trusts(peer):
            return None
        users, groups = [], []
        for name, value in headers:
            if name == self.user_header:
                users.append(_text(value))
            elif name == self.groups_header:
                groups.append(_text(value))
        # Of two headers one is the client's own, which the proxy passed on: trust neither.
        if len(users) != 1 or not users[0]:
            return None
        listed = groups[0].split(self.separator) if len(groups) == 1 else ()
        return Caller(users[0], "proxy", tuple(group.strip() for group in listed if group.strip()))

    def client(self, headers: Iterable[tuple[bytes, bytes]], peer: str | None) -> str | None:
        """Return the address of the client: behind trusted proxies the last one that is not theirs.

        Entries of `X-Forwarded-For` before it may be forged by the client.
        """
        if peer is None or not self._trusts(peer):
            return peer
        listed = ",".join(_text(value) for name, value in headers if name == b"x-forwarded-for")
        hops = [_without_port(hop.strip()) for hop in listed.split(",") if hop.strip()]
        return next((hop for hop in reversed(hops) if not self._trusts(hop)), peer)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a Unix socket has none
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped  # how a socket that listens on :: sees IPv4
        return any(address in network for network in self.networks)


def _without_port(hop: str) -> str:
    """Return the address of an entry of `X-Forwarded-For`: some gateways write `1.2.3.4:5678`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _text(value: bytes) -> str:
    """Decode a header; return an empty string if it is not UTF-8, and so ambiguous."""
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return ""

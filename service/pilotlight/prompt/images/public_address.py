"""Which addresses a server may fetch from: public ones, so that no request reaches its network."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NEVER = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's host of virtual machines: a public address that is private
        "192.0.0.0/24",  # Oracle's metadata among others; Python before 3.11.10 calls it global
        "192.88.99.0/24",  # anycast relays of 6to4
        "64:ff9b::/96",  # NAT64: an IPv4 address, maybe a private one, behind a translator
        "64:ff9b:1::/48",
        "2001::/23",  # Teredo and other protocols
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)


def is_public(address: str) -> bool:
    """Return whether *address* is a public unicast address.

    Loopback, private, link-local (and so the metadata servers of clouds), shared, reserved and
    multicast addresses are not, nor are IPv6 addresses that stand for an IPv4 address.
    """
    try:
        # A zone ("%eth0") is of link-local addresses alone.
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return (
        parsed.is_global
        and not parsed.is_multicast
        and not parsed.is_reserved
        and not any(parsed.version == network.version and parsed in network for network in _NEVER)
    )

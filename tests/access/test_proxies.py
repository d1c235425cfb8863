"""Proxies that vouch for users: who is believed, and what."""

import pytest

from pilotlight.access.caller import Caller
from pilotlight.access.proxies import TrustedProxies, network

PROXIES = TrustedProxies(
    networks=[network("10.1.0.0/16"), network("192.0.2.7"), network("fd00::/8")],
    user_header=b"x-forwarded-user",
    groups_header=b"x-forwarded-groups",
    separator=",",
)
USER = (b"x-forwarded-user", b"ann")


@pytest.mark.parametrize(
    "peer", ["10.1.2.3", "192.0.2.7", "fd00::1", "fd00::1%eth0", "::ffff:10.1.2.3"]
)
def test_a_peer_in_a_network_is_believed(peer):
    """An address alone is a network of one; sockets that listen on :: see IPv4 as IPv6."""
    assert PROXIES.user([USER], peer) == Caller("ann", "proxy")


@pytest.mark.parametrize(
    "peer",
    ["10.2.0.1", "192.0.2.8", "fe80::1", "127.0.0.1", "::1", "::ffff:10.2.0.1", "", "a.b", None],
)
def test_another_peer_is_not(peer):
    """Whatever its headers say, nor where it has no address."""
    headers = [USER, (b"x-forwarded-for", b"10.1.2.3"), (b"forwarded", b"for=10.1.2.3")]
    assert PROXIES.user(headers, peer) is None


@pytest.mark.parametrize(
    ("listed", "client"),
    [
        (b"203.0.113.9", "203.0.113.9"),
        (b"6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (b"203.0.113.9:5678, 10.1.2.3:443", "203.0.113.9"),
        (b"2001:db8::1, fd00::2", "2001:db8::1"),
        (b"[2001:db8::1]:5678, [fd00::2]:443", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"unknown", "unknown"),
        (b"[", ""),
        (b"", "10.1.9.9"),
    ],
)
def test_a_client_behind_proxies(listed, client):
    """The last address that is no proxy's, without the port that some gateways write."""
    assert PROXIES.client([(b"x-forwarded-for", listed)], "10.1.9.9") == client
    assert PROXIES.client([(b"x-forwarded-for", listed)], "203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (b"a,b", ("a", "b")),
        (b" a b , c ", ("a b", "c")),
        (b"a|b", ("a|b",)),
        (b"", ()),
        (b",,", ()),
        ("größe,b".encode(), ("größe", "b")),
        (b"\xff,b", ()),
    ],
)
def test_groups_are_a_list(value, groups):
    """Empty ones are none, and of a text that is not certain nothing is believed."""
    headers = [USER, (b"x-forwarded-groups", value)]
    assert PROXIES.user(headers, "10.1.2.3").groups == groups


def test_names_and_separator_are_authentiks():
    """Whose groups stand between pipes, and may have commas in their names."""
    proxies = TrustedProxies(
        networks=[network("10.1.0.0/16")],
        user_header=b"x-authentik-username",
        groups_header=b"x-authentik-groups",
        separator="|",
    )
    headers = [
        (b"x-forwarded-user", b"eve"),
        (b"x-authentik-username", b"akadmin"),
        (b"x-authentik-groups", b"foo|bar, baz"),
    ]
    assert proxies.user(headers, "10.1.2.3") == Caller("akadmin", "proxy", ("foo", "bar, baz"))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-forwarded-user", b"")],
        [(b"x-forwarded-user", b"  ")],
        [(b"x-forwarded-user", b"\xff")],
        [(b"x-forwarded-groups", b"a")],
        [USER, (b"x-forwarded-user", b"eve")],
        [USER, USER],
    ],
)
def test_nobody_is_vouched_for(headers):
    """No user, or several: one of them the proxy may have let pass."""
    assert PROXIES.user(headers, "10.1.2.3") is None


def test_several_headers_of_groups_are_none():
    """One of them the client may have sent."""
    headers = [USER, (b"x-forwarded-groups", b"a"), (b"x-forwarded-groups", b"admins")]
    assert PROXIES.user(headers, "10.1.2.3") == Caller("ann", "proxy", ())


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "proxy", "", "fd00::/129"])
def test_what_is_no_network_is_refused(text):
    """Bits behind the prefix are a mistake in one or the other."""
    with pytest.raises(ValueError, match=text or "''"):
        network(text)

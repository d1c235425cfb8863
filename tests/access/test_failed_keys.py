"""Who tries one wrong key after another."""

import pytest

from pilotlight.access.authenticator import Authenticator
from pilotlight.access.failed_keys import FailedKeys
from pilotlight.config import Secret, Settings
from pilotlight.errors import InvalidApiKey, RateLimited


def test_a_minutes_worth_comes_back_evenly():
    """The Retry-After is exact: a refused request does not prolong it."""
    failed = FailedKeys(2)
    assert [failed.fail("192.0.2.1", 0.0) for _ in range(4)] == [0.0, 0.0, 30.0, 30.0]
    assert failed.fail("192.0.2.1", 20.0) == pytest.approx(10.0)
    assert failed.fail("192.0.2.1", 30.001) == 0.0
    assert failed.fail("192.0.2.2", 0.0) == 0.0


def test_zero_limits_nothing():
    """Nor is anything remembered."""
    failed = FailedKeys(0)
    assert not any(failed.fail("192.0.2.1", 0.0) for _ in range(1000))


def test_addresses_of_one_site_and_of_none_count_together():
    """IPv4 is the same seen through IPv6, and other sites are others."""
    failed = FailedKeys(1)
    assert failed.fail("2001:db8::1", 0.0) == 0.0
    assert failed.fail("2001:db8::2", 0.0) > 0
    assert failed.fail("2001:db8:0:1::1", 0.0) == 0.0
    assert failed.fail("192.0.2.1", 0.0) == 0.0
    assert failed.fail("::ffff:192.0.2.1", 0.0) > 0
    assert failed.fail(None, 0.0) == 0.0
    assert failed.fail("not an address", 0.0) > 0


def test_no_more_addresses_are_remembered_than_may():
    """The one that failed longest ago is forgotten."""
    failed = FailedKeys(1, addresses=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        failed.fail(address, 0.0)
    assert len(failed._left) == 2
    assert failed.fail("192.0.2.1", 0.0) > 0


def test_a_right_key_is_served_from_the_same_address():
    """Only wrong keys are counted and refused: a request without one guesses nothing."""
    settings = Settings(api_keys=Secret("ann:s3cret"), failed_keys_per_minute=1)
    authenticator = Authenticator(settings, clock=lambda: 0.0)
    wrong, right = [(b"x-api-key", b"wrong")], [(b"x-api-key", b"s3cret")]
    with pytest.raises(InvalidApiKey):
        authenticator.authenticate(wrong, "192.0.2.1")
    with pytest.raises(RateLimited) as caught:
        authenticator.authenticate(wrong, "192.0.2.1")
    assert caught.value.retry_after == 60.0
    assert authenticator.authenticate(right, "192.0.2.1").name == "ann"
    with pytest.raises(InvalidApiKey):
        authenticator.authenticate([], "192.0.2.1")


@pytest.mark.parametrize(("peer", "counted_apart"), [("10.0.0.1", True), ("192.0.2.9", False)])
def test_a_trusted_proxys_clients_count_apart(peer, counted_apart):
    """By the last address that is not a proxy's; the header of any other peer is ignored."""
    settings = Settings(
        api_keys=Secret("s3cret"), trusted_proxies=("10.0.0.0/8",), failed_keys_per_minute=1
    )
    authenticator = Authenticator(settings, clock=lambda: 0.0)

    def refusal(forwarded: bytes) -> type[Exception]:
        headers = [(b"x-api-key", b"wrong"), (b"x-forwarded-for", forwarded)]
        with pytest.raises((InvalidApiKey, RateLimited)) as caught:
            authenticator.authenticate(headers, peer)
        return caught.type

    assert refusal(b"198.51.100.1, 10.0.0.2") is InvalidApiKey
    assert refusal(b"1.2.3.4, 198.51.100.1") is RateLimited
    assert (refusal(b"198.51.100.2") is InvalidApiKey) == counted_apart

"""What one caller may have, over time."""

import pytest

from pilotlight.errors import RateLimited
from pilotlight.retry_after import LONGEST, SHORTEST
from pilotlight.scheduling.rate_limits import Allowance, Limits, RateLimiter
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ask(limiter: RateLimiter, caller: str = "a", tokens: int = 0) -> None:
    """Let a request come and end."""
    with limiter.request(caller) as charge:
        charge.tokens = tokens


def test_without_limits_nothing_is_counted(clock):
    """Nothing is refused, and there are no headers."""
    limiter = RateLimiter(Limits(), clock)
    for _ in range(1000):
        ask(limiter, tokens=10_000)
    assert limiter.allowances("a") == {}


def test_requests_of_a_minute(clock):
    """A minute's requests may come at once; the next has to wait for one to come back."""
    limiter = RateLimiter(Limits(requests_per_minute=30), clock)
    for _ in range(30):
        ask(limiter)

    with pytest.raises(RateLimited, match="30 requests a minute") as refused:
        ask(limiter)

    assert refused.value.retry_after == 2.0
    clock.now += 2.0
    ask(limiter)


def test_callers_do_not_share(clock):
    """What one has spent is no loss of another's."""
    limiter = RateLimiter(Limits(requests_per_minute=1), clock)
    ask(limiter, "a")
    ask(limiter, "b")
    with pytest.raises(RateLimited):
        ask(limiter, "a")


def test_tokens_of_a_minute(clock):
    """An answer may cost more than is left, and its debt is waited off."""
    limiter = RateLimiter(Limits(tokens_per_minute=600), clock)
    ask(limiter, tokens=700)

    with pytest.raises(RateLimited, match="600 tokens a minute") as refused:
        ask(limiter)

    assert refused.value.retry_after == pytest.approx(10.1)
    clock.now += 10.2
    ask(limiter)


def test_a_refused_request_costs_nothing(clock):
    """However often it is tried again."""
    limiter = RateLimiter(Limits(requests_per_minute=60), clock)
    for _ in range(60):
        ask(limiter)
    for _ in range(100):
        with pytest.raises(RateLimited):
            ask(limiter)
    clock.now += 1
    ask(limiter)


def test_requests_at_a_time(clock):
    """A request that ends makes room, also one that fails."""
    limiter = RateLimiter(Limits(concurrent_requests=2), clock)
    with limiter.request("a"):
        with pytest.raises(ZeroDivisionError), limiter.request("a"):
            raise ZeroDivisionError
        with limiter.request("a"), pytest.raises(RateLimited, match="2 concurrent requests"):
            ask(limiter)
        ask(limiter, "b")
    ask(limiter)


@pytest.mark.parametrize(
    ("limit", "tokens", "seconds"), [(6000, 6001, SHORTEST), (10, 1000, LONGEST)]
)
def test_the_wait_is_one_that_clients_obey(clock, limit, tokens, seconds):
    """At least a second, and at most a minute."""
    limiter = RateLimiter(Limits(tokens_per_minute=limit), clock)
    ask(limiter, tokens=tokens)
    with pytest.raises(RateLimited) as refused:
        ask(limiter)
    assert refused.value.retry_after == seconds


def test_what_is_left_is_told(clock):
    """And when all of it is there again."""
    limiter = RateLimiter(Limits(requests_per_minute=60, tokens_per_minute=600), clock)
    ask(limiter, tokens=150)
    ask(limiter, tokens=0)

    assert limiter.allowances("a") == {
        "requests": Allowance(60, 58, 2.0),
        "tokens": Allowance(600, 450, 15.0),
    }
    clock.now += 60
    assert limiter.allowances("a") == {
        "requests": Allowance(60, 60, 0.0),
        "tokens": Allowance(600, 600, 0.0),
    }


def test_callers_that_are_gone_are_forgotten(clock):
    """Names that a proxy vouches for may be any number; those in debt stay."""
    limiter = RateLimiter(Limits(requests_per_minute=60, tokens_per_minute=60), clock)
    for number in range(100):
        ask(limiter, f"user {number}")
    ask(limiter, "debtor", tokens=6000)
    clock.now += 60
    ask(limiter, "newcomer")
    assert set(limiter._accounts) == {"debtor", "newcomer"}

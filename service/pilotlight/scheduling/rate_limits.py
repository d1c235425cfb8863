"""Limit each caller: concurrent requests, and requests and tokens a minute.

The limits a minute are token buckets: a caller may spend a whole minute's worth at once, and it
refills evenly. The tokens of a request are known only when it ends, so its bucket can become
negative, and the caller waits until it is positive again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from pilotlight.errors import RateLimited
from pilotlight.retry_after import SHORTEST, bounded

_MINUTE = 60.0


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one caller; None is unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class Allowance(Struct, frozen=True):
    """The state of a limit: *remaining* of *limit*, all of it again in *reset* seconds."""

    limit: int
    remaining: int
    reset: float


class Bucket:
    """One limit of one caller. Pure: times are passed in."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._left = float(limit)
        self._at = now

    def take(self, amount: float, now: float) -> None:
        """Take *amount*; the balance may become negative."""
        self._left = self._refilled(now) - amount
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until *amount* is available; 0 if it is now."""
        missing = amount - self._refilled(now)
        return max(missing, 0.0) * _MINUTE / self.limit

    def allowance(self, now: float) -> Allowance:
        """Return the state of the limit."""
        left = self._refilled(now)
        reset = (self.limit - left) * _MINUTE / self.limit
        return Allowance(self.limit, max(int(left), 0), reset)

    def is_full(self, now: float) -> bool:
        """Return whether all of the limit is available."""
        return self._refilled(now) >= self.limit

    def _refilled(self, now: float) -> float:
        return min(self._left + (now - self._at) * self.limit / _MINUTE, float(self.limit))


class _Account:
    """The requests in flight and the buckets of one caller."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.in_flight = 0
        self.requests = _bucket(limits.requests_per_minute, now)
        self.tokens = _bucket(limits.tokens_per_minute, now)

    def is_idle(self, now: float) -> bool:
        """Return whether it equals a new account, and so need not be kept."""
        return not self.in_flight and all(
            bucket is None or bucket.is_full(now) for bucket in (self.requests, self.tokens)
        )


class Charge:
    """One request in flight; set *tokens*, what it used, before it ends."""

    def __init__(self) -> None:
        self.tokens = 0


class RateLimiter:
    """Holds each caller to the limits. Used on one loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def request(self, caller: str) -> Iterator[Charge]:
        """Count one request of *caller* while the context lasts; raises `RateLimited`."""
        account = self._account(caller)
        self._check(account)
        if account.requests:
            account.requests.take(1, self._clock())
        account.in_flight += 1
        charge = Charge()
        try:
            yield charge
        finally:
            account.in_flight -= 1
            if account.tokens:
                account.tokens.take(charge.tokens, self._clock())

    def allowances(self, caller: str) -> dict[str, Allowance]:
        """Return the state of *caller*'s limits, by what they count."""
        account, now = self._account(caller), self._clock()
        buckets = {"requests": account.requests, "tokens": account.tokens}
        return {name: bucket.allowance(now) for name, bucket in buckets.items() if bucket}

    def _account(self, caller: str) -> _Account:
        account = self._accounts.get(caller)
        if account is None:
            now = self._clock()
            # Users of a proxy come and go: forget those whose account equals a new one.
            self._accounts = {
                name: one for name, one in self._accounts.items() if not one.is_idle(now)
            }
            account = self._accounts[caller] = _Account(self._limits, now)
        return account

    def _check(self, account: _Account) -> None:
        now, most = self._clock(), self._limits.concurrent_requests
        if most is not None and account.in_flight >= most:
            raise RateLimited(
                f"this caller's limit is {most} concurrent requests", retry_after=SHORTEST
            )
        for bucket, what in ((account.requests, "requests"), (account.tokens, "tokens")):
            seconds = 0.0 if bucket is None else bucket.wait(1, now)
            if bucket is not None and seconds > 0:
                raise RateLimited(
                    f"this caller's limit is {bucket.limit} {what} a minute",
                    retry_after=bounded(seconds),
                )


def _bucket(limit: int | None, now: float) -> Bucket | None:
    return None if limit is None else Bucket(limit, now)

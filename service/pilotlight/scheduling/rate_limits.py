"""How much each caller may ask for: requests at a time, requests and tokens a minute.

A minute's worth may be spent at once, and comes back evenly. What an answer costs in tokens is
known when it has ended, so its caller may go into debt with it, and has to wait the debt off.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from pilotlight.errors import RateLimited

_MINUTE = 60.0
LEAST, MOST = 1.0, 60.0
"""Seconds that a refused client is told to wait; over 60 some SDKs do not."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one caller may have; None means that it does not count."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class Allowance(Struct, frozen=True):
    """How a limit stands: *remaining* of *limit*, all of it again in *reset* seconds."""

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
        """Take *amount*, though there be less."""
        self._left = self._refilled(now) - amount
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until *amount* is there; 0 where it is."""
        missing = amount - self._refilled(now)
        return max(missing, 0.0) * _MINUTE / self.limit

    def allowance(self, now: float) -> Allowance:
        """Return how it stands."""
        left = self._refilled(now)
        reset = (self.limit - left) * _MINUTE / self.limit
        return Allowance(self.limit, max(int(left), 0), reset)

    def is_full(self, now: float) -> bool:
        """Tell whether nothing is missing."""
        return self._refilled(now) >= self.limit

    def _refilled(self, now: float) -> float:
        return min(self._left + (now - self._at) * self.limit / _MINUTE, float(self.limit))


class _Account:
    """What one caller has under way, and left."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.under_way = 0
        self.requests = _bucket(limits.requests_per_minute, now)
        self.tokens = _bucket(limits.tokens_per_minute, now)

    def is_idle(self, now: float) -> bool:
        """Tell whether it says no more than a new one would."""
        return not self.under_way and all(
            bucket is None or bucket.is_full(now) for bucket in (self.requests, self.tokens)
        )


class Visit:
    """One request under way; *tokens* is what it has cost, to be set before it ends."""

    def __init__(self) -> None:
        self.tokens = 0


class RateLimiter:
    """Holds each caller to the limits. Used on one loop."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def request(self, caller: str) -> Iterator[Visit]:
        """Count one request of *caller* while the context lasts; raises `RateLimited`."""
        account = self._account(caller)
        self._check(account)
        if account.requests:
            account.requests.take(1, self._clock())
        account.under_way += 1
        visit = Visit()
        try:
            yield visit
        finally:
            account.under_way -= 1
            if account.tokens:
                account.tokens.take(visit.tokens, self._clock())

    def allowances(self, caller: str) -> dict[str, Allowance]:
        """Return how the limits of *caller* stand, by what they count."""
        account, now = self._account(caller), self._clock()
        buckets = {"requests": account.requests, "tokens": account.tokens}
        return {name: bucket.allowance(now) for name, bucket in buckets.items() if bucket}

    def _account(self, caller: str) -> _Account:
        account = self._accounts.get(caller)
        if account is None:
            now = self._clock()
            # Proxies' users come and go; who has nothing under way and all left is as if new.
            self._accounts = {
                name: one for name, one in self._accounts.items() if not one.is_idle(now)
            }
            account = self._accounts[caller] = _Account(self._limits, now)
        return account

    def _check(self, account: _Account) -> None:
        now, limits = self._clock(), self._limits
        most = limits.concurrent_requests
        if most is not None and account.under_way >= most:
            raise RateLimited(f"{most} requests of this caller are under way", retry_after=LEAST)
        for bucket, what in ((account.requests, "requests"), (account.tokens, "tokens")):
            seconds = 0.0 if bucket is None else bucket.wait(1, now)
            if bucket is not None and seconds > 0:
                raise RateLimited(
                    f"{bucket.limit} {what} a minute are this caller's limit",
                    retry_after=min(max(seconds, LEAST), MOST),
                )


def _bucket(limit: int | None, now: float) -> Bucket | None:
    return None if limit is None else Bucket(limit, now)

"""A parser, what it is fed, and what must hold of it whatever that is."""

import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from msgspec import Struct

MEBIBYTE = 1 << 20


class Broken(Exception):
    """What is drawn in *example* broke the case *name*; its cause says how."""

    def __init__(self, name: str, example: Mapping[str, Any]) -> None:
        drawn = "\n".join(f"  {key} = {value!r}" for key, value in example.items())
        super().__init__(f"{name}\n{drawn}")


class Case(Struct, frozen=True):
    """One parser's test; *check* raises where it does not hold for what is drawn from *fed*."""

    name: str
    check: Callable[..., None]
    fed: Mapping[str, SearchStrategy[Any]]
    short: int
    """Examples of the short run."""

    def run(self, examples: int, random_seed: int | None = None) -> int:
        """Feed it *examples* examples; return how many there were.

        Without a seed they are the same each time. Raises `Broken` with the smallest example that
        fails, from what that raised.
        """
        count = 0
        last: dict[str, Any] = {}

        def check(**drawn: Any) -> None:
            nonlocal count, last
            count += 1
            last = drawn
            self.check(**drawn)

        check.__name__ = self.check.__name__
        test = given(**self.fed)(check)
        if random_seed is not None:
            test = seed(random_seed)(test)
        test = settings(
            max_examples=examples,
            derandomize=random_seed is None,
            database=None,
            deadline=None,  # `bounded` counts the CPU's time: other processes do not matter
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(test)
        try:
            test()
        except Exception as error:  # whatever a parser can raise
            raise Broken(self.name, last) from error
        return count


def case(title: str, /, *, short: int = 40, **fed: SearchStrategy[Any]) -> Callable[..., Case]:
    """Make a `Case` called *title* of the function below."""
    return lambda check: Case(title, check, fed, short)


class _TooLong(BaseException):
    """No `Exception`, which what is watched may catch."""


@contextmanager
def bounded(*, seconds: float = 2.0, mebibytes: int | None = None) -> Iterator[None]:
    """Hold the block to so much time of the CPU, and to so much memory of Python's at once."""

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    if mebibytes is not None:
        tracemalloc.start()
    began = time.process_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        # A call into C is not interrupted, only found out.
        assert time.process_time() - began <= seconds, f"it took more than {seconds} s"
        if mebibytes is not None:
            peak = tracemalloc.get_traced_memory()[1]
            assert peak <= mebibytes * MEBIBYTE, f"it took {peak} bytes of memory"
    except _TooLong:
        raise AssertionError(f"it took more than {seconds} s") from None
    finally:
        signal.signal(signal.SIGPROF, before)
        if mebibytes is not None:
            tracemalloc.stop()

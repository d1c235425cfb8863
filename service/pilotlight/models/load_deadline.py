"""Waits until a load has made no progress for too long."""

from collections.abc import Awaitable, Callable

from pilotlight.models.step_watch import StepWatch
from pilotlight_backend import Step

_INTERVAL = 1.0
_LOOKS = 4
"""Within a timeout at the least: how late a stall may be noticed is a part of it."""


async def stall(
    moves: Callable[[], int],
    seconds: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Return once *moves*, the progress made so far, was the same for so many *seconds*.

    As for an engine's steps, time in which the process itself stood still does not count.
    """
    interval = min(_INTERVAL, seconds / _LOOKS)
    watch = StepWatch(seconds, interval=interval)
    while not watch.hangs(clock(), (Step(moves(), 0),)):
        await sleep(interval)

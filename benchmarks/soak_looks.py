"""Measure the resources of a server during a soak, and whether they have grown."""

import asyncio
import re
import sys
import time
from collections.abc import Iterator, Mapping

from msgspec import Struct

from benchmarks.raw_http import exchange, get
from benchmarks.server_process import Resources, ServerProcess

IDLE_TTL = 2.0
REST_SECONDS = 60.0
"""Seconds within which the server must be idle."""
_MINUTE = 60.0
_TOLERANCE = 0.05


class Look(Struct, frozen=True):
    """The resources of a server at one time."""

    minute: float
    resources: Resources
    gauges: Mapping[str, int]


async def look(server: ServerProcess, began: float) -> Look:
    """Measure the resources of *server*."""
    metrics = (await exchange(server.port, get("/metrics"))).body.decode()
    gauges = {
        name: _sum(metrics, f"pilotlight_{metric}")
        for name, metric in {
            "loaded": "kv_capacity_tokens",
            "slots": "slots_busy",
            "queue": "queued_requests",
            "kv": "kv_tokens",
            "loads": "loads_total",
        }.items()
    }
    return Look((time.monotonic() - began) / _MINUTE, server.resources(), gauges)


def _sum(metrics: str, name: str) -> int:
    return int(sum(map(float, re.findall(rf"^{name}{{.*}} (.*)$", metrics, re.MULTILINE))))


async def at_rest(server: ServerProcess, began: float) -> Look:
    """Measure once no request runs and no model is loaded; raises `TimeoutError`."""
    async with asyncio.timeout(REST_SECONDS):
        while True:
            await asyncio.sleep(IDLE_TTL / 2)
            now = await look(server, began)
            if not (now.gauges["loaded"] or now.gauges["slots"] or now.gauges["queue"]):
                return now


HEADINGS = "minute  when  RSS MB  fds  threads  slots  queue  kv tokens  loads\n"


def tell(when: str, seen: Look) -> None:
    """Print the line of a measurement at the time *when*."""
    held, gauges = seen.resources, seen.gauges
    sys.stdout.write(
        f"{seen.minute:6.1f}  {when}  {held.rss / 1e6:6.1f}  {held.descriptors:3}"
        f"  {held.threads:7}  {gauges['slots']:5}  {gauges['queue']:5}"
        f"  {gauges['kv']:9}  {gauges['loads']:5}\n"
    )
    sys.stdout.flush()


def grown(level: Look, last: Look) -> Iterator[str]:
    """Yield the resources that exceed the baseline *level* by more than is tolerated."""
    pairs = {
        "bytes of memory": (level.resources.rss, last.resources.rss),
        "descriptors": (level.resources.descriptors, last.resources.descriptors),
        "threads": (level.resources.threads, last.resources.threads),
    }
    for what, (before, after) in pairs.items():
        if after > before * (1 + _TOLERANCE):
            yield f"{after} {what} at the end, {before} after the warm-up"

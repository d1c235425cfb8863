"""Detect the platform that this process runs on, and its defaults."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

Platform: TypeAlias = Literal["cloud_run", "knative", "kubernetes", "none"]


class Profile(Struct, frozen=True):
    """The defaults of a platform; *why* it was detected is for the log."""

    platform: Platform
    why: str
    withdraws_cpu: bool = False
    """Whether the CPU is throttled while no request is in flight: a load in the background would
    never end, so a request waits until the model is ready instead of getting a 503."""
    hold: float | None = None
    """Default of the setting `hold` in seconds; None for the general default."""
    max_retry_after: float | None = None
    """Default of the setting `max_retry_after` in seconds; None for the general default."""


_BACK_IN_TIME = 45.0
"""Seconds after which a refused client retries while its pod still exists. Knative's autoscaler
does not count requests that are refused at once, and removes a pod 60 to 62 s after the last
request that it counted. On Cloud Run a load makes no progress until the client retries."""


def detect(environ: Mapping[str, str]) -> Profile:
    """Detect the platform from *environ*.

    Cloud Run and Knative both set K_SERVICE; only clusters set KUBERNETES_SERVICE_HOST.
    """
    if environ.get("K_SERVICE"):
        if environ.get("KUBERNETES_SERVICE_HOST"):
            why = "K_SERVICE and KUBERNETES_SERVICE_HOST are set"
            return Profile("knative", why, max_retry_after=_BACK_IN_TIME)
        # With request-based billing, the default, there is CPU only while a request is in flight.
        # 45 s is below the idle timeouts of proxies in front, such as HAProxy's 50 s.
        return Profile(
            "cloud_run",
            "K_SERVICE is set",
            withdraws_cpu=True,
            hold=45.0,
            max_retry_after=_BACK_IN_TIME,
        )
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return Profile("kubernetes", "KUBERNETES_SERVICE_HOST is set")
    return Profile("none", "no platform's variable is set")


_ENOUGH = 30.0
"""Seconds of `hold` below which the CPU is throttled during the load of some gigabytes."""


def warning(platform: Platform, hold: float) -> str | None:
    """Return a warning if loads would stall on *platform*, and how to avoid that."""
    if platform == "cloud_run" and hold < _ENOUGH:
        return (
            f"Cloud Run throttles the CPU while no request is in flight, and requests are held"
            f" for only {hold:g} s: a longer load stops when they are answered. Set --hold to 45,"
            " or allocate the CPU always"
            ' (run.googleapis.com/cpu-throttling: "false")'
        )
    return None


def process_age() -> float | None:
    """Return the seconds since this process was started; None if the system does not report it.

    Linux reports the start in clock ticks, 10 ms each, since the machine's boot (proc(5), stat).
    """
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None

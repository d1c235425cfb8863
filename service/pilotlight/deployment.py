"""Where this process runs, and what follows from it."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

Platform: TypeAlias = Literal["cloud_run", "knative", "kubernetes", "none"]


class Profile(Struct, frozen=True):
    """A platform's defaults; *why* is for the log."""

    platform: Platform
    why: str
    withdraws_cpu: bool = False
    """Whether a load stands still while no request is in flight: 503 and a load in the background
    never end there, so a request is held until the model is ready."""
    hold: float | None = None
    """Seconds that a request is held by default; None leaves the general default."""
    max_retry_after: float | None = None
    """Largest Retry-After by default, in seconds; None leaves the general default."""


_BACK_IN_TIME = 45.0
"""Seconds after which a refused client is back while its pod is still there. Knative's autoscaler
does not see requests that are refused at once, and removes a pod 60 to 62 s after the last one that
it saw. On Cloud Run a load stands still until the client is back."""


def detect(environ: Mapping[str, str]) -> Profile:
    """Return the profile of the platform that *environ* shows.

    Cloud Run and Knative both set K_SERVICE; only in a cluster there is KUBERNETES_SERVICE_HOST.
    """
    if environ.get("K_SERVICE"):
        if environ.get("KUBERNETES_SERVICE_HOST"):
            why = "K_SERVICE and KUBERNETES_SERVICE_HOST are set"
            return Profile("knative", why, max_retry_after=_BACK_IN_TIME)
        # Request-based billing, the default, gives CPU while a request is in flight. 45 s is what
        # proxies before the service leave before they cut a silent connection.
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
"""Seconds of hold below which a load of some gigabytes is cut off from the CPU half-way."""


def warning(platform: Platform, hold: float) -> str | None:
    """Return what would stall on *platform*, and the cure; None where nothing would."""
    if platform == "cloud_run" and hold < _ENOUGH:
        return (
            f"Cloud Run throttles the CPU while no request is in flight, and requests are held"
            f" for only {hold:g} s: a longer load stops when they are answered. Set --hold to 45,"
            " or allocate the CPU always"
            ' (run.googleapis.com/cpu-throttling: "false")'
        )
    return None


def process_age() -> float | None:
    """Return the seconds since this process was started; None where the kernel does not tell.

    Linux counts its start in clock ticks, 10 ms each, since the machine's boot (proc(5), stat).
    """
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None

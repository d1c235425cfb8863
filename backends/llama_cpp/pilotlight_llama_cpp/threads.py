"""How many threads compute."""

import os

from pilotlight_llama_cpp.cgroup import cpu_quota

_SMALL_MODEL = 50_000_000


def choose(model_bytes: int) -> int:
    """Return the threads for a model of *model_bytes*, from the CPUs this process may use.

    ggml's threads meet at a barrier after each operation. Of a small model the operations take
    microseconds, and the barrier costs more than the second thread brings: two threads on two
    idle cores decoded a model of 3 MB at a tenth of one thread's speed.
    """
    if model_bytes < _SMALL_MODEL:
        return 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    # Rounded down: a thread more than the quota allows is stopped for part of each period, and
    # the others wait for it.
    return max(1, min(cpus, int(quota))) if quota is not None else cpus

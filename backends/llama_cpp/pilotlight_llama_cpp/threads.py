"""How many threads compute."""

from pilotlight_backend.cgroup import granted_cpus

_SMALL_MODEL = 50_000_000


def choose(model_bytes: int) -> int:
    """Return the threads for a model of *model_bytes*, from the CPUs this process may use.

    ggml's threads meet at a barrier after each operation. Of a small model the operations take
    microseconds, and the barrier costs more than the second thread brings: two threads on two
    idle cores decoded a model of 3 MB at a tenth of one thread's speed.
    """
    return 1 if model_bytes < _SMALL_MODEL else granted_cpus()

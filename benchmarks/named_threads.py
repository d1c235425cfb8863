"""Run `pilotlight`, and write its threads' names at SIGUSR1: Python 3.11 sets no system names.

    python -m benchmarks.named_threads FILE serve --port 8080

Threads that Python has not started, such as those of OpenMP, have no name in FILE.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilotlight.cli import main

EXECUTOR = "uvloop"
"""What uvloop calls the threads of its default executor: `uvloop_0` and on."""
NATIVE = "native"
_LONGEST = 10.0


def tell_names(file: Path) -> None:
    """Write the names of this process's threads to *file* at every SIGUSR1, atomically."""

    def tell(*_: Any) -> None:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(names))
        draft.rename(file)

    signal.signal(signal.SIGUSR1, tell)


def threads_of(pid: int, file: Path) -> Counter[str]:
    """Return how many threads *pid* has of each kind, as the kernel counts them.

    Raises `TimeoutError` where *file* is not written in ten seconds.
    """
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    until = time.monotonic() + _LONGEST
    while not file.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{file}: process {pid} does not tell its threads' names")
        time.sleep(0.01)
    names = json.loads(file.read_text())
    return kinds([int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()], names)


def kinds(tasks: list[int], names: Mapping[str, str]) -> Counter[str]:
    """Return how many of *tasks* are of each kind: their name in *names* without its number."""
    return Counter(re.sub(r"[-_ ]*[0-9]+$", "", names.get(str(task), NATIVE)) for task in tasks)


if __name__ == "__main__":
    tell_names(Path(sys.argv[1]))
    main(sys.argv[2:])

"""Kill instances that share one folder at random moments, and count the damaged files.

    python -m benchmarks.killed_writers --kills 100 --seed 1

Two processes save states into one folder, and read what either has stored. Now and then one of them
is killed by SIGKILL and started again. Each compares every state that it gets with what was saved.
In the end the folder is read once more, and pruned as an instance does that runs later.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from pilotlight_backend.prompt_cache import Found, PromptCache, Snapshot
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from pilotlight_backend.prompt_cache.storage import ABANDONED, Folder, prune

PREFIX = "abc-"
CONVERSATIONS = 40
LENGTH = 100
SIZE = 200_000
LIMIT = 3_000_000
"""Bytes of the folder: of 40 states it takes 15, so files are deleted all the time."""
LONGEST = 0.2
"""Seconds until a kill, at the most. A state is written in a few milliseconds."""
WAIT = 30.0


class Report(NamedTuple):
    """What the kills left."""

    kills: int
    used: int
    """States that were read and were right."""
    damaged: int
    """States that were read and were wrong."""
    files: int
    """Whole files in the end."""
    left: int
    """Other files in the end, after an instance has pruned."""


class Wrong(Exception):
    """A state that is not what was saved."""


def state(number: int) -> bytes:
    """Return the state of a conversation."""
    return bytes([number]) * SIZE


def tokens(number: int) -> range:
    """Return the tokens of a conversation."""
    return range(number * 1000, number * 1000 + LENGTH)


def guarded(folder: Path, limit: int | None = LIMIT) -> GuardedStorage:
    """Return the folder as an instance uses it."""
    return GuardedStorage(lambda: Folder(folder), prefix=PREFIX, limit=limit, ttl=None)


def write_and_read(folder: Path) -> None:
    """Save and read states until killed; print a line for each that was read."""
    cache = PromptCache(identity=PREFIX[:-1], memory_limit=0, files=guarded(folder))
    chance = random.Random()  # noqa: S311 - each process another order
    print("ready", flush=True)  # noqa: T201 - read by the parent
    while True:
        cache.busy()
        number = chance.randrange(CONVERSATIONS)
        if cache.wants("", tokens(number), least=1, size=SIZE, store=True):
            cache.put("", tokens(number), Snapshot(state=state(number)), least=1, store=True)
        cache.wait(1)
        number = chance.randrange(CONVERSATIONS)
        found = _read(cache, number)
        if found is not None:
            is_right = found.snapshot.state == state(number)
            print("right" if is_right else "wrong", flush=True)  # noqa: T201 - as above


def _read(cache: PromptCache, number: int) -> Found | None:
    got: list[Found | None] = []
    done = threading.Event()

    def fetched(found: Found | None) -> None:
        got.append(found)
        done.set()

    begun = cache.fetch(
        "", [*tokens(number), 0], LENGTH, have=0, seconds_per_token=1.0, done=fetched
    )
    return got[0] if begun and done.wait(WAIT) else None


def kill(folder: Path, *, kills: int, seed: int, longest: float = LONGEST) -> Report:
    """Kill one of two writers again and again; return what that did."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    writers = [_started(folder), _started(folder)]
    lines: list[str] = []
    try:
        for _ in range(kills):
            time.sleep(chance.random() * longest)
            number = chance.randrange(2)
            lines += _killed(writers[number])
            writers[number] = _started(folder)
    finally:
        for writer in writers:
            lines += _killed(writer)
    files, left = _looked_through(folder)
    return Report(kills, lines.count("right"), lines.count("wrong"), files, left)


def _started(folder: Path) -> "subprocess.Popen[str]":
    writer = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "benchmarks.killed_writers", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    if writer.stdout is None or writer.stdout.readline() != "ready\n":
        raise RuntimeError("a writer ended by itself")
    return writer


def _killed(writer: "subprocess.Popen[str]") -> list[str]:
    """Kill *writer*; return the lines that it printed."""
    if writer.poll() is not None:
        raise RuntimeError(f"a writer ended by itself with status {writer.returncode}")
    writer.send_signal(signal.SIGKILL)
    printed, _ = writer.communicate()
    return printed.splitlines()


def _looked_through(folder: Path) -> tuple[int, int]:
    """Read every file, and prune as an instance does later; return whole files, and others."""
    files = guarded(folder, limit=None)
    entries = dict(files.entries(files.files() or []))
    for name, entry in entries.items():
        snapshot = files.read(name)
        if snapshot is None or snapshot.state != state(entry.tokens[0] // 1000):
            raise Wrong(name)
    later = time.time() + 2 * ABANDONED
    prune(Folder(folder, clock=lambda: later), limit=None, ttl=None, now=later)
    return len(entries), len({one.name for one in folder.iterdir()} - set(entries))


def main() -> None:
    """Print the report; status 1 where a damaged file was used or is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        write_and_read(arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = kill(Path(folder), kills=arguments.kills, seed=arguments.seed)
    print(report)  # noqa: T201 - a command's output
    sys.exit(report.damaged > 0 or report.left > 0 or not report.used)


if __name__ == "__main__":
    main()

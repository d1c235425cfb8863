"""Kill servers that share one folder of states at random moments, and compare every answer.

    python -m benchmarks.killed_servers --kills 100 --seed 1

Two servers of `spark` answer the same conversations with two slots each, so that states are stored
and read all the time. Now and then one of them is killed by SIGKILL and started again. Each greedy
answer is compared with that of a server without a cache. In the end every file is read once more,
and the folder is pruned as an instance does that runs later.

`benchmarks.killed_writers` does the same to the prompt cache alone, with many more writes.
"""

import argparse
import http.client
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.listening import free_port
from benchmarks.prompt_cache import ask, conversation
from benchmarks.server_process import ServerProcess, command, environment, serving
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from pilotlight_backend.prompt_cache.storage import ABANDONED, Folder, prune

MODEL = "spark"
CONVERSATIONS = 10
CHARACTERS = 700
FLAGS = {"--parallel": 2, "--context-length": 2048, "--deterministic": "true", "--preload": MODEL}
LONGEST = 3.0
"""Seconds until the next kill, at the most: a start takes one."""
GONE = (ConnectionError, http.client.HTTPException, TimeoutError)
"""What a client sees of a server that is killed."""


class Report(NamedTuple):
    """What the kills left."""

    kills: int
    answers: int
    cached: int
    """Answers whose prompt was cached in part."""
    wrong: int
    """Answers unlike those of a server without a cache."""
    damaged: int
    """Files that an instance found damaged, and deleted."""
    files: int
    """Whole files in the end."""
    left: int
    """Other files in the end, after an instance has pruned."""


class Server:
    """A server that is killed and started again, always on the same port."""

    def __init__(self, flags: dict[str, object], log: Path) -> None:
        self.port = free_port()
        self._command = command({**flags, "--port": self.port})
        self._log = log
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as written:
            return subprocess.Popen(  # noqa: S603 - our own command
                self._command, stdout=subprocess.DEVNULL, stderr=written, env=environment()
            )

    def kill(self) -> None:
        """End it at once. Raises `RuntimeError` where it has ended by itself."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a server ended by itself; its log is {self._log}")
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self._process = self._started()

    def damaged(self) -> int:
        """Return how many damaged files it has found."""
        return self._log.read_text().count(" is deleted: ")


def expected(folder: Path) -> list[str]:
    """Return the answer to each conversation without a cache."""
    with serving({**FLAGS, "--prompt-cache": 0}, folder / "expected.log") as server:
        return [ask(server, MODEL, conversation(n, CHARACTERS)).content for n in _numbers()]


def _numbers() -> range:
    return range(CONVERSATIONS)


def chat(port: int, answers: list[str], counts: Counter[str], ended: Callable[[], bool]) -> None:
    """Ask for conversations in any order until *ended*; count what comes back."""
    chance = random.Random(port)  # noqa: S311 - an order
    while not ended():
        number = chance.choice(_numbers())
        try:
            turn = ask(ServerProcess(0, port), MODEL, conversation(number, CHARACTERS))
        except GONE:
            continue
        counts["answers"] += 1
        counts["cached"] += turn.cached > 0
        counts["wrong"] += turn.content != answers[number]


def kill(folder: Path, *, kills: int, seed: int) -> Report:
    """Kill one of two servers again and again; return what that did."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    states = folder / "states"
    answers = expected(folder)
    flags = {**FLAGS, "--prompt-cache": 0, "--state-dir": states}
    servers = [Server(flags, folder / f"{number}.log") for number in range(2)]
    counts = [Counter[str](), Counter[str]()]
    ended = threading.Event()
    clients = [
        threading.Thread(target=chat, args=(server.port, answers, count, ended.is_set), daemon=True)
        for server, count in zip(servers, counts, strict=True)
    ]
    for client in clients:
        client.start()
    try:
        for _ in range(kills):
            time.sleep(chance.random() * LONGEST)
            chance.choice(servers).restart()
    finally:
        ended.set()
        for client in clients:  # while their servers run: each has its last answer yet
            client.join()
        for server in servers:
            server.kill()
    count = counts[0] + counts[1]
    files, left = _looked_through(states)
    return Report(
        kills=kills,
        answers=count["answers"],
        cached=count["cached"],
        wrong=count["wrong"],
        damaged=sum(server.damaged() for server in servers),
        files=files,
        left=left,
    )


def _looked_through(folder: Path) -> tuple[int, int]:
    """Read every file, and prune as an instance does later; return whole files, and others."""
    files = GuardedStorage(lambda: Folder(folder), prefix="", limit=None, ttl=None)
    entries = dict(files.entries(files.files() or []))
    whole = {name for name in entries if files.read(name) is not None}
    later = time.time() + 2 * ABANDONED
    prune(Folder(folder, clock=lambda: later), limit=None, ttl=None, now=later)
    return len(whole), len({one.name for one in folder.iterdir()} - whole)


def main() -> None:
    """Print the report; status 1 where an answer was wrong, or something damaged is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = kill(Path(folder), kills=arguments.kills, seed=arguments.seed)
    print(report)  # noqa: T201 - a command's output
    sys.exit(report.wrong > 0 or report.damaged > 0 or report.left > 0 or not report.cached)


if __name__ == "__main__":
    main()

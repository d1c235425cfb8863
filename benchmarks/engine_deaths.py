"""Kill an engine's process again and again under load, and count which requests fail.

python -m benchmarks.engine_deaths --rounds 50

A real server with two models, each in a process of its own, and streams that follow each other on
both. In each round a signal kills one model's process while its streams run, and again if none of
them was running in that moment. It counts the requests of that model that failed with
`inference_error`, other outcomes, the incomplete streams of the other model, and measures the time
until the next request succeeds.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.named_threads import EXECUTOR, threads_of
from pilotlight_llama_cpp.backend import LlamaCppBackend

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
_CHAT = "/v1/chat/completions"
_TIMEOUT = 60.0
_TOKENS = 60
"""Tokens of the shortest stream; the longest has nearly twice as many."""
_EXECUTOR_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""The limit of `concurrent.futures.ThreadPoolExecutor`."""
_WHOLE, _FAILED = "whole", "inference_error"
_MOST_MISSED = 20
"""Deaths in a row that may find no stream running. Streams pause for a moment between two requests;
how long that is for both at once depends on the machine."""


@dataclass
class Round:
    """The effects of one death."""

    signal: str
    failed: int
    """Streams of the model that ended with `inference_error`, at least one."""
    missed: int
    """Deaths before that found no stream running."""
    seconds: float
    """Seconds until the next request succeeded, its load included."""


@dataclass
class Deaths:
    """The effects of all deaths."""

    rounds: list[Round] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By model, how its streams ended: `whole`, an error's code, or another fault."""
    processes: int = 0
    """Processes of engines at the end, beyond the two."""
    descriptors: int = 0
    """Open files of the server at the end, beyond those before the first death."""
    threads: dict[str, int] = field(default_factory=dict)
    """Threads of the server at the end beyond those before, by kind, where not 0. The threads of
    asyncio's executor are in `executor`."""
    executor: int = 0
    """Threads of asyncio's executor at the end. It starts one for a call when none is idle, up to
    min(32, CPUs + 4), and ends none: their number depends on the calls at one time, and not on the
    deaths."""


def run(rounds: int, streams: int, log: Path | None = None) -> Deaths:
    """Kill `dying`'s process *rounds* times; *streams* run on each of the two models."""
    deaths = Deaths()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_server(folder, log))
        models = [Model(server.url, name) for name in ("dying", "other")]
        for model in models:
            model.ask()
        before = server.held()
        for model in models:
            deaths.outcomes[model.name] = model.outcomes
            stack.enter_context(model.streaming(streams))
        for number in range(rounds):
            deaths.rounds.append(_one_round(server, models[0], SIGNALS[number % len(SIGNALS)]))
        for model in models:
            model.stop()
        models[0].ask()
        after = server.settled(before)
        deaths.processes = len(server.engines()) - len(models)
        deaths.descriptors = after.files - before.files
        deaths.executor = after.threads[EXECUTOR]
        deaths.threads = more_threads(before, after)
    return deaths


def _one_round(server: "Server", model: "Model", number: signal.Signals) -> Round:
    for missed in range(_MOST_MISSED):
        failed, seconds = _one_death(server, model, number)
        if failed:
            return Round(number.name, failed, missed, seconds)
    raise TimeoutError(f"{_MOST_MISSED} deaths of {model.name} found no stream running")


def _one_death(server: "Server", model: "Model", number: signal.Signals) -> tuple[int, float]:
    """Return how many streams failed, and the seconds until the next request succeeded."""
    model.wait_whole()  # its streams run again
    failed = model.outcomes[_FAILED]
    os.kill(server.engines()["dying.gguf"], number)
    began = time.perf_counter()
    model.wait_ended()
    while not model.ask():
        failed -= 1  # it came before the server noticed the death, and counts as failed
    seconds = time.perf_counter() - began
    return model.outcomes[_FAILED] - failed, seconds


class Model:
    """One model under load: streams that follow each other, and how each ended."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self._url = url + _CHAT
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def ask(self) -> bool:
        """Request a short response, and return whether it succeeded; raises for another error."""
        answer = httpx.post(self._url, json=self._body(max_tokens=2), timeout=_TIMEOUT)
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            return answer.json()["error"]["code"] != _FAILED
        answer.raise_for_status()
        return True

    @contextmanager
    def streaming(self, count: int) -> Iterator[None]:
        """Keep *count* streams running."""
        # Of several lengths: otherwise all end in the same step, and a death may find none running.
        lengths = [_TOKENS + _TOKENS * number // count for number in range(count)]
        threads = [threading.Thread(target=self._stream_on, args=(one,)) for one in lengths]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Start no more streams."""
        self._stopping.set()

    def wait_whole(self) -> None:
        """Wait until one more stream has succeeded."""
        whole = self.outcomes[_WHOLE]
        self._wait(lambda: self.outcomes[_WHOLE] > whole)

    def wait_ended(self) -> None:
        """Wait until one more stream has ended in any way."""
        ended = self.outcomes.total()
        self._wait(lambda: self.outcomes.total() > ended)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, _TIMEOUT):
                raise TimeoutError(f"{self.name}: {self.outcomes}")

    def _stream_on(self, length: int) -> None:
        with httpx.Client(timeout=_TIMEOUT) as client:
            while not self._stopping.is_set():
                outcome = self._stream(client, length)
                with self._changed:
                    self.outcomes[outcome] += 1
                    self._changed.notify_all()

    def _stream(self, client: httpx.Client, length: int) -> str:
        body = self._body(max_tokens=length, stream=True, temperature=0)
        try:
            answer = client.post(self._url, json=body)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code != httpx.codes.OK:
            return str(answer.json()["error"]["code"])
        return _outcome(answer.text)

    def _body(self, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Count from 1 to 60."}]
        return {"model": self.name, "messages": messages, **fields}


def _outcome(text: str) -> str:
    """Return how the stream with these events ended."""
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    if not data or data[-1] != "[DONE]":
        return "torn"
    events = [json.loads(one) for one in data[:-1]]
    for event in events:
        if "error" in event:
            return str(event["error"]["code"])
    reason = events[-1]["choices"][0]["finish_reason"]
    return _WHOLE if reason in ("stop", "length") else f"finish_reason {reason}"


@dataclass
class Held:
    """The processes, files and threads of a server."""

    threads: Counter[str]
    """By kind."""
    files: int


def more_threads(before: Held, after: Held) -> dict[str, int]:
    """Return the differences of threads by kind, without those of the executor."""
    found = {
        kind: after.threads[kind] - before.threads[kind] for kind in after.threads | before.threads
    }
    return {kind: more for kind, more in found.items() if more and kind != EXECUTOR}


class Server:
    """A `pilotlight serve`, and its resources."""

    def __init__(
        self, process: "subprocess.Popen[str]", url: str, names: Path | None = None
    ) -> None:
        """Watch a server that `benchmarks.named_threads` has started with its file of *names*."""
        self.url = url
        self._proc = Path("/proc") / str(process.pid)
        self._names = names

    def engines(self) -> dict[str, int]:
        """Return the processes of its engines by the file of their model."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended since
                parent = stat.read_text().rpartition(")")[2].split()[1]
                command = stat.with_name("cmdline").read_bytes().split(b"\0")
                # One that was killed and is not waited for yet has no command line.
                if parent == self._proc.name and len(command) > 1:
                    found[command[-2].decode()] = int(stat.parent.name)
        return found

    def held(self) -> Held:
        """Return its resources; raises where it does not write the names of its threads."""
        if self._names is None:
            raise ValueError(f"{self.url} was started without a file of names")
        threads = threads_of(int(self._proc.name), self._names)
        return Held(threads, len(list((self._proc / "fd").iterdir())))

    def settled(self, before: Held) -> Held:
        """Return `held`, once it is no more than *before*, or after a long time."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            now = self.held()
            is_settled = now.files <= before.files and not more_threads(before, now)
            if is_settled or time.monotonic() > deadline:
                return now
            time.sleep(0.1)


@contextmanager
def _server(folder: Path, log: Path | None) -> Iterator[Server]:
    spark = LlamaCppBackend().embedded()
    if spark is None:
        sys.exit("the embedded model is not built in")
    for name in ("dying", "other"):
        (folder / f"{name}.gguf").write_bytes(spark.read_bytes())
    flags = ["--models-dir", str(folder), "--port", "0", "--isolation", "process", "--threads", "1"]
    names = folder / "threads.json"
    with ExitStack() as stack:
        errors: Any = subprocess.DEVNULL if log is None else stack.enter_context(log.open("w"))
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "benchmarks.named_threads", str(names), "serve", *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield Server(process, _url(process.stdout or ()), names)
        finally:
            process.terminate()
            process.communicate(timeout=_TIMEOUT)


def _url(lines: Iterable[str]) -> str:
    for line in lines:
        if found := re.search(r"http://[0-9.]+:[0-9]+", line):
            return found[0]
    sys.exit("the server has not started")


def table(deaths: Deaths) -> Sequence[str]:
    """Return the lines of the table."""
    lines = [
        f"{'signal':<8} {'rounds':>6} {'failed':>6} {'missed':>6} {'seconds until served':>22}"
    ]
    for number in SIGNALS:
        own = [one for one in deaths.rounds if one.signal == number.name]
        if own:
            times = [one.seconds for one in own]
            failed = sum(one.failed for one in own)
            missed = sum(one.missed for one in own)
            middle, most = statistics.median(times), max(times)
            lines.append(
                f"{number.name:<8} {len(own):>6} {failed:>6} {missed:>6}"
                f" {middle:>9.2f}, most {most:.2f}"
            )
    for name, outcomes in deaths.outcomes.items():
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        lines.append(f"streams of {name}: {told}")
    kinds = ", ".join(f"{more:+} {kind}" for kind, more in deaths.threads.items())
    lines.append(
        f"left in the end: {deaths.processes} processes, {deaths.descriptors} open files,"
        f" {sum(deaths.threads.values())} threads{kinds and f' ({kinds})'};"
        f" asyncio's executor has {deaths.executor} threads of at most {_EXECUTOR_THREADS}"
    )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--streams", type=int, default=4, help="on each of the two models")
    parser.add_argument("--log", type=Path, help="file for the server's log")
    given = parser.parse_args()
    print("\n".join(table(run(given.rounds, given.streams, given.log))))  # noqa: T201


if __name__ == "__main__":
    main()

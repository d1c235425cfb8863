"""An engine that is killed again and again under load: whom it takes with it.

python -m benchmarks.engine_deaths --rounds 50

A real server with two models, each in a process of its own, and streams that follow each other on
both. In each round one model's process is ended by a signal while its streams run. Counted are the
requests of that model that failed with `inference_error`, any other outcome, the streams of the
other model that were not whole, and how long it took until the next request was answered. Before
that some deaths go uncounted: asyncio's pool starts its threads one by one, as work comes, and what
the server holds is compared with what it holds when they are there.
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

from pilotlight_llama_cpp.backend import LlamaCppBackend

SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)
_CHAT = "/v1/chat/completions"
_TIMEOUT = 60.0
_WARM_UP = 12
"""Deaths after which asyncio's pool, of at most four threads more than there are CPUs, is whole."""
_TOKENS = 60
"""Of the shortest stream; the longest has nearly twice as many."""
_WHOLE, _FAILED = "whole", "inference_error"


@dataclass
class Round:
    """What one death did."""

    signal: str
    failed: int
    """Streams of the model that ended with `inference_error`."""
    seconds: float
    """Until the next request was answered, its load included."""


@dataclass
class Deaths:
    """What all of them did."""

    rounds: list[Round] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """By model, how its streams ended: `whole`, an error's code, or what else was wrong."""
    processes: int = 0
    """Processes of engines that were there at the end, beside the two."""
    descriptors: int = 0
    """Open files of the server at the end, beyond those before the first death."""
    threads: int = 0
    """The same of its threads."""


def run(rounds: int, streams: int, log: Path | None = None, *, warm_up: int = 0) -> Deaths:
    """Kill `dying`'s process *rounds* times; *streams* run on each of the two models.

    *warm_up* deaths come before, and are not counted.
    """
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder), log) as server:
        _deaths(server, warm_up, streams)
        before = server.held()
        deaths = _deaths(server, rounds, streams)
        after = server.settled(before)
        deaths.processes = len(server.engines()) - len(deaths.outcomes)
        deaths.threads, deaths.descriptors = (
            now - was for now, was in zip(after, before, strict=True)
        )
    return deaths


def _deaths(server: "Server", rounds: int, streams: int) -> Deaths:
    """Kill and count; when it returns both models are loaded, and nobody asks."""
    dying, other = (Model(server.url, name) for name in ("dying", "other"))
    deaths = Deaths(outcomes={model.name: model.outcomes for model in (dying, other)})
    for model in (dying, other):
        model.ask()
    if rounds:
        with dying.streaming(streams), other.streaming(streams):
            for number in range(rounds):
                deaths.rounds.append(_one_death(server, dying, SIGNALS[number % len(SIGNALS)]))
        dying.ask()
    return deaths


def _one_death(server: "Server", model: "Model", number: signal.Signals) -> Round:
    model.wait_whole()  # its streams run again
    failed = model.outcomes[_FAILED]
    os.kill(server.engines()["dying.gguf"], number)
    began = time.perf_counter()
    model.wait_ended()
    while not model.ask():
        failed -= 1  # it came before the server knew, and counts as one that failed
    seconds = time.perf_counter() - began
    return Round(number.name, model.outcomes[_FAILED] - failed, seconds)


class Model:
    """One model under load: streams that follow each other, and how each ended."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self._url = url + _CHAT
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def ask(self) -> bool:
        """Ask for a short answer, and tell whether it came; raises where something else did."""
        answer = httpx.post(self._url, json=self._body(max_tokens=2), timeout=_TIMEOUT)
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            return answer.json()["error"]["code"] != _FAILED
        answer.raise_for_status()
        return True

    @contextmanager
    def streaming(self, count: int) -> Iterator[None]:
        """Keep *count* streams running."""
        # Of several lengths, or all would end in the same step, and a death find nobody there.
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
        """Begin no stream any more."""
        self._stopping.set()

    def wait_whole(self) -> None:
        """Wait until one more stream was whole."""
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


class Server:
    """`pilotlight serve`, and what it holds."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.url = url
        self._proc = Path("/proc") / str(process.pid)

    def engines(self) -> dict[str, int]:
        """Return the processes of its engines by the file of their model."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended since
                parent = stat.read_text().rpartition(")")[2].split()[1]
                if parent == self._proc.name:
                    command = stat.with_name("cmdline").read_bytes().split(b"\0")
                    found[command[-2].decode()] = int(stat.parent.name)
        return found

    def held(self) -> tuple[int, int]:
        """Return how many threads and open files it has."""
        threads, files = (len(list((self._proc / name).iterdir())) for name in ("task", "fd"))
        return threads, files

    def settled(self, before: tuple[int, int]) -> tuple[int, int]:
        """Return `held`, once it is no more than *before*, or after some seconds."""
        for _ in range(50):
            if all(now <= was for now, was in zip(self.held(), before, strict=True)):
                break
            time.sleep(0.1)
        return self.held()


@contextmanager
def _server(folder: Path, log: Path | None) -> Iterator[Server]:
    spark = LlamaCppBackend().embedded()
    if spark is None:
        sys.exit("the embedded model is not built in")
    for name in ("dying", "other"):
        (folder / f"{name}.gguf").write_bytes(spark.read_bytes())
    flags = ["--models-dir", str(folder), "--port", "0", "--isolation", "process", "--threads", "1"]
    with ExitStack() as stack:
        errors: Any = subprocess.DEVNULL if log is None else stack.enter_context(log.open("w"))
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "pilotlight", "serve", *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield Server(process, _url(process.stdout or ()))
        finally:
            process.terminate()
            process.communicate(timeout=_TIMEOUT)


def _url(lines: Iterable[str]) -> str:
    for line in lines:
        if found := re.search(r"http://[0-9.]+:[0-9]+", line):
            return found[0]
    sys.exit("the server has not started")


def table(deaths: Deaths) -> Sequence[str]:
    """Return the lines that say what happened."""
    lines = [f"{'signal':<8} {'deaths':>6} {'failed':>6} {'seconds until served':>22}"]
    for number in SIGNALS:
        own = [one for one in deaths.rounds if one.signal == number.name]
        if own:
            times = [one.seconds for one in own]
            failed = sum(one.failed for one in own)
            middle, most = statistics.median(times), max(times)
            lines.append(
                f"{number.name:<8} {len(own):>6} {failed:>6} {middle:>9.2f}, most {most:.2f}"
            )
    for name, outcomes in deaths.outcomes.items():
        told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        lines.append(f"streams of {name}: {told}")
    lines.append(
        f"left in the end: {deaths.processes} processes, {deaths.threads} threads,"
        f" {deaths.descriptors} open files"
    )
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--streams", type=int, default=4, help="on each of the two models")
    parser.add_argument("--log", type=Path, help="file for the server's log")
    given = parser.parse_args()
    deaths = run(given.rounds, given.streams, given.log, warm_up=_WARM_UP)
    print("\n".join(table(deaths)))  # noqa: T201


if __name__ == "__main__":
    main()

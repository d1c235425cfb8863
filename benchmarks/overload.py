"""Send a server ten times the requests that it can serve: the latency of those that it admits.

    python -m benchmarks.overload --seconds 60

A server serves `spark` in N slots. First N clients send one request after another, which measures a
response from its first byte to its last. Then ten times as many clients, and as many more as the
queue holds, start at the same time. A client that is refused sends its next request after about the
time of a response, so together they request ten times what the slots can serve. The two alternate.
The responses are streams that count to a hundred, and each must equal the one without load.

Last, requests wait for a slot that does not become free, to measure the memory that they hold.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import uvloop
from msgspec import Struct, field

from benchmarks.raw_http import Answer, Connection, exchange, get, post
from benchmarks.server_process import ServerProcess, serving

_CHAT = "/v1/chat/completions"
_OK, _TOO_MANY = 200, 429
_TIMES = 10
_ROUNDS = 4
_WAITING = 200
_LONG = 128
"""Answers of one request that keep every slot busy for long enough."""
_SLACK = 1.15
_AT_ONCE = 0.05
_FLAT = 1.05


def count_to(number: int, *, answers: int = 1, padding: int = 0) -> bytes:
    """Return a request for long greedy answers, with *padding* characters that nothing reads."""
    body = {
        "model": "spark",
        "messages": [{"role": "user", "content": f"Count from 1 to {number}."}],
        "temperature": 0,
        "max_tokens": 900,
        "stream": True,
        "n": answers,
        "user": "x" * padding,
    }
    return post(_CHAT, body)


def said(answer: Answer) -> list[str]:
    """Return the events of a stream without the fields that differ between responses."""
    pieces = answer.body.decode().split('"delta":')[1:]
    return [piece.partition(',"logprobs"')[0] for piece in pieces]


class Tally(Struct):
    """What clients measured."""

    answered: list[float] = field(default_factory=list)
    """Seconds from each response's first byte to its last."""
    waited: list[float] = field(default_factory=list)
    """Seconds from the request to the first byte."""
    refused: list[float] = field(default_factory=list)
    """Seconds from the request in the kernel to the whole refusal in the kernel: the server's."""
    felt: list[float] = field(default_factory=list)
    """Seconds from connecting until the refusal was read. More than *refused* by the time that the
    clients wait for each other: one process reads all streams on the same CPUs."""
    wrong: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Tally") -> Self:
        self.answered += other.answered
        self.waited += other.waited
        self.refused += other.refused
        self.felt += other.felt
        self.wrong += other.wrong
        return self

    def take(self, answer: Answer, asked_at: float, expected: Sequence[str]) -> None:
        """Count one answer."""
        if answer.status == _TOO_MANY:
            self.refused.append(answer.arrived_at - answer.sent_at)
            self.felt.append(answer.ended_at - asked_at)
            if "retry-after" not in answer.headers:
                self.wrong.append("a refusal without Retry-After")
        elif answer.status != _OK:
            self.wrong.append(f"{answer.status} {answer.body[:200]!r}")
        elif said(answer) != expected:
            self.wrong.append("another answer than alone")
        else:
            self.answered.append(answer.ended_at - answer.head_at)
            self.waited.append(answer.head_at - asked_at)


async def ask_until(
    port: int, until: float, tally: Tally, expected: Sequence[str], pause: float
) -> None:
    """Send requests until the time *until*, the next one *pause* seconds after a refusal."""
    draw = random.Random()  # noqa: S311 - so that they do not all come at once
    request = count_to(100)
    while (asked_at := time.perf_counter()) < until:
        answer = await exchange(port, request)
        tally.take(answer, asked_at, expected)
        if answer.status != _OK:
            await asyncio.sleep(pause * draw.uniform(0.5, 1.5))


async def crowd(
    port: int, clients: int, seconds: float, expected: Sequence[str], pause: float = 0.0
) -> Tally:
    """Return what *clients* measured in *seconds*."""
    tally = Tally()
    until = time.perf_counter() + seconds
    asking = (ask_until(port, until, tally, expected, pause) for _ in range(clients))
    await asyncio.gather(*asking)
    return tally


async def bytes_waiting(server: ServerProcess, padding: int) -> tuple[int, int]:
    """Return the size of a request, and the memory that it holds in the queue, in bytes.

    The connection is included.
    """
    busy = await Connection.open(server.port)
    await busy.send(count_to(100, answers=_LONG))
    await busy.answer(lambda reading: bool(reading.body))  # it takes every slot for half a minute
    request = count_to(100, padding=padding)
    before = server.resources().rss
    waiting = [await Connection.open(server.port) for _ in range(_WAITING)]
    for one in waiting:
        await one.send(request)
    while (queued := await queue_length(server.port)) < _WAITING:  # noqa: ASYNC110 - as seen from outside
        await asyncio.sleep(0.1)
    held = server.resources().rss - before
    for one in (*waiting, busy):
        one.hang_up()
    return len(request), held // queued


async def queue_length(port: int) -> int:
    """Return how many requests wait."""
    metrics = (await exchange(port, get("/metrics"))).body.decode()
    values = re.findall(r"^pilotlight_queued_requests{.*} (.*)$", metrics, re.MULTILINE)
    return int(sum(map(float, values)))


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that *part* of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def spread(seconds: Sequence[float]) -> str:
    """Return the median, the p99 and the maximum of durations."""
    median, rare, most = (percentile(seconds, part) * 1e3 for part in (0.5, 0.99, 1.0))
    return f"median {median:.1f} ms  p99 {rare:.1f} ms  max {most:.1f} ms"


def refusals(log: Path) -> list[float]:
    """Return the seconds of the refusals in the access log *log*, from the request's first line."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["duration"] for line in lines if line.get("status") == _TOO_MANY]


async def measure(
    server: ServerProcess, slots: int, max_queue: int, seconds: float, log: Path
) -> list[str]:
    """Print the results; return the failures."""
    port = server.port
    expected = said(await exchange(port, count_to(100)))
    clients = _TIMES * slots + max_queue
    pause = statistics.median((await crowd(port, slots, 2.0, expected)).answered)
    warm = await crowd(port, clients, 2.0, expected, pause)
    before = server.resources().rss
    alone, full = Tally(), Tally()
    for _ in range(_ROUNDS):
        alone += await crowd(port, slots, seconds / _ROUNDS / 2, expected)
        full += await crowd(port, clients, seconds / _ROUNDS, expected, pause)
    after = server.resources().rss
    logged = refusals(log)
    uncontended = statistics.median(alone.answered)
    ratio = statistics.median(full.answered) / uncontended
    sys.stdout.write(
        f"{slots} clients, {slots} slots       answered {len(alone.answered):5}"
        f"  median {uncontended:.3f} s\n"
        f"{clients} clients, {max_queue} may wait   answered {len(full.answered):5}"
        f"  median {statistics.median(full.answered):.3f} s  full/alone {ratio:.3f}"
        f"  wait median {statistics.median(full.waited):.3f} s\n"
        f"refused {len(full.refused)} {spread(full.refused)}, as the log says {spread(logged)}\n"
        f"  with what the clients wait for each other {spread(full.felt)}\n"
        f"memory {before / 1e6:.1f} MB, then {after / 1e6:.1f} MB\n"
    )
    faults = [*alone.wrong, *warm.wrong, *full.wrong]
    if ratio > _SLACK:
        faults.append(f"answers took {ratio:.2f} times as long as alone, more than {_SLACK}")
    if max(full.refused) > _AT_ONCE:
        faults.append(f"a refusal took more than {_AT_ONCE * 1e3:.0f} ms")
    if after > before * _FLAT:
        faults.append("memory grew")
    return faults


def main() -> None:
    """Parse the command line, measure, and exit with 1 after a failure."""
    parser = argparse.ArgumentParser(description="Ask for ten times what a server can answer.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--max-queue", type=int, default=4)
    arguments = parser.parse_args()
    faults = []
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        folder = Path(name)
        flags = {
            "--models-dir": folder,
            "--models-file": folder / "none.yaml",
            "--backends": "llama_cpp",
            "--preload": "spark",
            "--parallel": arguments.slots,
        }
        with serving(flags | {"--max-queue": arguments.max_queue}, folder / "log") as server:
            faults += runner.run(
                measure(
                    server, arguments.slots, arguments.max_queue, arguments.seconds, folder / "log"
                )
            )
        for padding in (0, 10_000, 100_000):
            with serving(flags | {"--max-queue": 2 * _WAITING}, folder / "log") as server:
                size, held = runner.run(bytes_waiting(server, padding))
            sys.stdout.write(f"a waiting request of {size} bytes holds {held} bytes\n")
    for fault in dict.fromkeys(faults):
        sys.stdout.write(f"{faults.count(fault)} times: {fault}\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

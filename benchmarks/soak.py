"""Throw everything at a server for a long time: every answer is right, and nothing stays behind.

    python -m benchmarks.soak --minutes 20

`pilotlight serve` runs as a process, with two models that write and one that embeds, a memory
budget in which two of the three have room, and an `idle_ttl` of two seconds. Which two are asked
changes every few seconds, so that models are unloaded and loaded all the time. Many clients ask
questions of every kind, send what has to be refused, hang up wherever one can, and read and write
slowly. Greedy answers are compared with those that each model gave alone at the start; 429 and 503
are taken where they say when to come back, and every other error is a failure.

Once a minute the server's resources are looked at twice: under load, and at rest, when no client
is there and every model is unloaded. The look at rest that ends the warm-up, which is the first
fifth of the time and at least a minute, is the level; the last one may be 5 % above it.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import uvloop
from msgspec import Struct

import pilotlight_llama_cpp
import pilotlight_onnx
from benchmarks.raw_http import Answer, Connection, ConnectionLost, exchange, get
from benchmarks.server_process import Resources, ServerProcess, serving
from benchmarks.soak_requests import (
    LARGEST,
    Fault,
    Question,
    Story,
    differences,
    faults,
    questions,
    story,
)
from pilotlight.models.eviction import memory_need
from pilotlight_backend import LoadOptions
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends import random_bert

_OK, _TOO_MANY, _UNAVAILABLE = 200, 429, 503
_PASSING = {_TOO_MANY: "queue_full", _UNAVAILABLE: "model_loading"}
_WRITERS, _EMBEDDER = ("first", "second"), "vectors"
_TIDES = (("first", _EMBEDDER), ("second", _EMBEDDER), ("first", "second"))
"""The models that are asked, in turns; the third has no room beside them."""
_TIDE_SECONDS = 7.0
_IDLE_TTL = 2.0
_HOLD = 0.1
"""Seconds that a request is held for a loading model: some meet the 503 behind it."""
_MINUTE = 60.0
_REST_SECONDS = 60.0
"""In which everything has to come to rest."""
_TOLERANCE = 0.05


class Plan(Struct, frozen=True):
    """What is asked, and what is right."""

    questions: Sequence[Question]
    faults: Sequence[Fault]
    expected: Mapping[tuple[str, str], Story]
    """By model and question."""


class Look(Struct, frozen=True):
    """What a server holds at some moment."""

    minute: float
    resources: Resources
    gauges: Mapping[str, int]


class Soak:
    """The clients of one run, and what they met."""

    def __init__(self, port: int, plan: Plan, seed: int) -> None:
        self._port = port
        self._plan = plan
        self._draw = random.Random(seed)  # noqa: S311 - chosen for being repeatable
        self._began = time.monotonic()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def throw(self, clients: int, seconds: float) -> None:
        """Let *clients* do their worst for *seconds*."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._client(until) for _ in range(clients)))

    async def _client(self, until: float) -> None:
        deeds: Mapping[Callable[[], Awaitable[tuple[str, str]]], int] = {
            self._ask: 50,
            self._err: 20,
            self._hang_up_early: 8,
            self._hang_up_waiting: 8,
            self._hang_up_reading: 8,
            self._read_slowly: 3,
            self._write_slowly: 3,
        }
        while time.monotonic() < until:
            (deed,) = self._draw.choices(list(deeds), list(deeds.values()))
            try:
                self.outcomes[await deed()] += 1
            except (OSError, ConnectionLost, ValueError) as error:
                self._complain("connection", f"{deed.__name__}: {error!r}")
            await asyncio.sleep(self._draw.uniform(0.0, 0.1))

    # ── deeds: each returns what was thrown, and the outcome ────────────────────────────────────

    async def _ask(self) -> tuple[str, str]:
        question, model = self._question()
        answer = await exchange(self._port, question.request(model))
        return question.name, self._judge(question, model, answer)

    async def _err(self) -> tuple[str, str]:
        fault = self._draw.choice(self._plan.faults)
        model = self._draw.choice(_WRITERS)
        answer = await exchange(self._port, fault.request(model, _EMBEDDER))
        return f"fault: {fault.name}", self._judge_refusal(fault, answer)

    async def _hang_up_early(self) -> tuple[str, str]:
        """Be gone before the request is whole: in its head or in its body."""
        question, model = self._question()
        request = question.request(model)
        head = request.index(b"\r\n\r\n")
        part = self._draw.choice(("head", "body"))
        end = (
            self._draw.randrange(1, head)
            if part == "head"
            else self._draw.randrange(head, len(request))
        )
        connection = await Connection.open(self._port)
        await connection.send(request[:end])
        await asyncio.sleep(self._draw.choice((0.0, 0.02)))
        connection.hang_up()
        return f"hang-up in the {part}", "gone"

    async def _hang_up_waiting(self) -> tuple[str, str]:
        """Be gone with the request sent: while it waits for a model or a slot, or runs."""
        question, model = self._question(anybody=True)
        connection = await Connection.open(self._port)
        await connection.send(question.request(model))
        await asyncio.sleep(self._draw.uniform(0.0, 0.4))
        connection.hang_up()
        return "hang-up while waiting", "gone"

    async def _hang_up_reading(self) -> tuple[str, str]:
        """Be gone in the middle of a stream."""
        question, model = self._question(lambda one: one.streamed)
        connection = await Connection.open(self._port)
        events = self._draw.randrange(1, 20)
        try:
            await connection.send(question.request(model))
            answer = await connection.answer(lambda read: read.body.count(b"data: ") >= events)
        finally:
            connection.hang_up()
        if answer.whole:
            return "hang-up in a stream", self._judge(question, model, answer)
        return "hang-up in a stream", "gone"

    async def _read_slowly(self) -> tuple[str, str]:
        question, model = self._question(lambda one: one.streamed)
        connection = await Connection.open(self._port)
        try:
            await connection.send(question.request(model))
            answer = await connection.answer(pause=self._draw.uniform(0.005, 0.03))
        finally:
            connection.hang_up()
        return "slow reader", self._judge(question, model, answer)

    async def _write_slowly(self) -> tuple[str, str]:
        question, model = self._question()
        request = question.request(model)
        connection = await Connection.open(self._port)
        try:
            for start in range(0, len(request), 64):
                await connection.send(request[start : start + 64])
                await asyncio.sleep(0.05)
            answer = await connection.answer()
        finally:
            connection.hang_up()
        return "slow writer", self._judge(question, model, answer)

    # ── choices and judgements ──────────────────────────────────────────────────────────────────

    def _question(
        self, fits: Callable[[Question], bool] = lambda _: True, *, anybody: bool = False
    ) -> tuple[Question, str]:
        """Draw a question and a model, of those that are asked now or of *anybody*."""
        tide = _TIDES[int((time.monotonic() - self._began) / _TIDE_SECONDS) % len(_TIDES)]
        asked = (*_WRITERS, _EMBEDDER) if anybody else tide
        fitting = [
            (one, model)
            for one in self._plan.questions
            for model in asked
            if fits(one) and one.embeds == (model == _EMBEDDER)
        ]
        return self._draw.choice(fitting)

    def _judge(self, question: Question, model: str, answer: Answer) -> str:
        if answer.status != _OK:
            return self._judge_passing(f"{question.name} of {model}", answer)
        told = story(answer, streamed=question.streamed)
        if _is_loading_error(told):
            return "model_loading in the stream"
        wrong = list(differences(told, self._plan.expected[model, question.name]))
        if wrong:
            return self._complain(f"{question.name} of {model}", "; ".join(wrong))
        return "right"

    def _judge_refusal(self, fault: Fault, answer: Answer) -> str:
        if answer.status != fault.status:
            return self._judge_passing(fault.name, answer)
        code = answer.json["error"]["code"] if fault.code else None
        if code != fault.code:
            return self._complain(fault.name, f"{code} and not {fault.code}")
        return str(fault.status)

    def _judge_passing(self, what: str, answer: Answer) -> str:
        """Judge an error that may come to anybody: it says its code, and when to come back."""
        told = answer.body.decode("utf-8", "replace")
        code = _PASSING.get(answer.status)
        if code is None or f'"code":"{code}"' not in told or "retry-after" not in answer.headers:
            return self._complain(what, f"{answer.status} {told[:300]}")
        return code

    def _complain(self, what: str, how: str) -> str:
        self.wrong.append(f"{what}: {how}")
        return "WRONG"


def _is_loading_error(told: Story) -> bool:
    return isinstance(told, dict) and told.get("error.code") in _PASSING.values()


# ── the server ──────────────────────────────────────────────────────────────────────────────────


def write_models(folder: Path, backend: str) -> int:
    """Write models and models.yaml into *folder*; return a budget in which two have room."""
    options = {"first": LoadOptions(parallel=4), "second": LoadOptions(parallel=2)}
    if backend == "llama_cpp":
        spark = Path(pilotlight_llama_cpp.__file__).parent / "spark.gguf"
        path = Path(shutil.copy(spark, folder / "spark.gguf"))
        facts = LlamaCppBackend().probe(path)
    else:
        spark = Path(pilotlight_onnx.__file__).parent / "spark"
        path = Path(shutil.copytree(spark, folder / "spark"))
        facts = OnnxBackend().probe(path)
    bert = random_bert.write(folder / "bert.gguf")
    embeds = LlamaCppBackend().probe(bert)
    assert facts  # noqa: S101 - the model is our own
    assert embeds  # noqa: S101 - just written
    lines = [
        f"{name}: {{path: {path.name}, parallel: {one.parallel}}}" for name, one in options.items()
    ]
    (folder / "models.yaml").write_text("\n".join([*lines, f"{_EMBEDDER}: bert.gguf"]))
    needs = [memory_need(facts, one) for one in options.values()]
    return sum(needs) + memory_need(embeds, LoadOptions()) - 1


async def look(server: ServerProcess, began: float) -> Look:
    """Look at what *server* holds."""
    metrics = (await exchange(server.port, get("/metrics"))).body.decode()
    gauges = {
        name: _sum(metrics, f"pilotlight_{metric}")
        for name, metric in {
            "loaded": "kv_capacity_tokens",
            "slots": "slots_busy",
            "queue": "queued_requests",
            "kv": "kv_tokens",
            "loads": "loads_total",
        }.items()
    }
    return Look((time.monotonic() - began) / _MINUTE, server.resources(), gauges)


def _sum(metrics: str, name: str) -> int:
    return int(sum(map(float, re.findall(rf"^{name}{{.*}} (.*)$", metrics, re.MULTILINE))))


async def at_rest(server: ServerProcess, began: float) -> Look:
    """Wait until nobody is served and no model is loaded, and look; raises `TimeoutError`."""
    async with asyncio.timeout(_REST_SECONDS):
        while True:
            await asyncio.sleep(_IDLE_TTL / 2)
            now = await look(server, began)
            if not (now.gauges["loaded"] or now.gauges["slots"] or now.gauges["queue"]):
                return now


async def learn(port: int, asked: Sequence[Question]) -> dict[tuple[str, str], Story]:
    """Return what each model answers to each question when nobody else asks."""
    expected = {}
    for model in (*_WRITERS, _EMBEDDER):
        for question in asked:
            if question.embeds == (model == _EMBEDDER):
                answer = await exchange(port, question.request(model, wait=True))
                if answer.status != _OK:
                    raise RuntimeError(f"{question.name} of {model}: {answer.body!r}")
                expected[model, question.name] = story(answer, streamed=question.streamed)
    return expected


async def soak(server: ServerProcess, minutes: float, clients: int, seed: int) -> list[str]:
    """Throw everything at *server*, print it; return what was not as it should be."""
    asked = questions()
    plan = Plan(asked, faults(), await learn(server.port, asked))
    soaking = Soak(server.port, plan, seed)
    began = time.monotonic()
    warm_up = max(minutes / 5, 1.0)
    level: Look | None = None
    sys.stdout.write(_HEADINGS)
    last = await at_rest(server, began)
    _print("rest", last)
    while (now := time.monotonic() - began) < minutes * _MINUTE:
        throwing = asyncio.create_task(
            soaking.throw(clients, min(_MINUTE, minutes * _MINUTE - now))
        )
        await asyncio.wait((throwing,), timeout=min(_MINUTE, minutes * _MINUTE - now) * 0.9)
        _print("load", await look(server, began))
        await throwing
        try:
            last = await at_rest(server, began)
        except TimeoutError:
            soaking.wrong.append(f"no rest {_REST_SECONDS:.0f} s after the last client had gone")
            break
        _print("rest", last)
        if level is None and last.minute >= warm_up:
            level = last
    _print_outcomes(soaking.outcomes)
    if level is None:
        return [*soaking.wrong, "too short to tell what stays behind"]
    return [*soaking.wrong, *grown(level, last)]


_HEADINGS = "minute  when  RSS MB  fds  threads  slots  queue  kv tokens  loads\n"


def _print(when: str, seen: Look) -> None:
    held, gauges = seen.resources, seen.gauges
    sys.stdout.write(
        f"{seen.minute:6.1f}  {when}  {held.rss / 1e6:6.1f}  {held.descriptors:3}"
        f"  {held.threads:7}  {gauges['slots']:5}  {gauges['queue']:5}"
        f"  {gauges['kv']:9}  {gauges['loads']:5}\n"
    )
    sys.stdout.flush()


def _print_outcomes(outcomes: Mapping[tuple[str, str], int]) -> None:
    sys.stdout.write("\nwhat was thrown, how often, and what came of it\n")
    for thrown in sorted({name for name, _ in outcomes}):
        came = {outcome: count for (name, outcome), count in outcomes.items() if name == thrown}
        told = "  ".join(f"{outcome} {count}" for outcome, count in sorted(came.items()))
        sys.stdout.write(f"{thrown:40} {sum(came.values()):6}  {told}\n")


def grown(level: Look, last: Look) -> Iterator[str]:
    """Yield what there is more of than at the *level*, by more than is tolerated."""
    pairs = {
        "bytes of memory": (level.resources.rss, last.resources.rss),
        "descriptors": (level.resources.descriptors, last.resources.descriptors),
        "threads": (level.resources.threads, last.resources.threads),
    }
    for what, (before, after) in pairs.items():
        if after > before * (1 + _TOLERANCE):
            yield f"{after} {what} at the end, {before} after the warm-up"


def complaints(log: Path) -> Iterator[str]:
    """Yield what the server logged as an error: whatever a client sends, it is none."""
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            yield f"the log: {line}"
        else:
            if record["severity"] in {"ERROR", "CRITICAL"}:
                yield f"the log: {line}"


def main() -> None:
    """Parse the command line, soak, and exit with 1 where something is amiss."""
    parser = argparse.ArgumentParser(description="Throw everything at a server for a long time.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--backend", choices=("llama_cpp", "onnx"), default="llama_cpp")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = {
            "--models-file": folder / "models.yaml",
            "--models-dir": folder / "none",
            "--cache-dir": folder / "cache",
            "--memory-budget": write_models(folder, arguments.backend),
            "--idle-ttl": _IDLE_TTL,
            "--hold": _HOLD,
            "--max-queue": 12,
            "--max-request-bytes": LARGEST,
            "--log-format": "json",
        }
        with (
            serving(flags, folder / "log") as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            amiss = runner.run(soak(server, arguments.minutes, arguments.clients, arguments.seed))
        amiss += complaints(folder / "log")
    for one in dict.fromkeys(amiss):
        sys.stdout.write(f"{amiss.count(one)} times: {one[:1000]}\n")
    sys.exit(bool(amiss))


if __name__ == "__main__":
    main()

"""The clients of a soak: what each sends, and whether the outcome is right."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from benchmarks.raw_http import Answer, Connection, ConnectionLost, exchange
from benchmarks.soak_requests import Fault, Question, Story, differences, story

WRITERS, EMBEDDER = ("first", "second"), "vectors"
_OK, _TOO_MANY, _UNAVAILABLE = 200, 429, 503
_PASSING = {_TOO_MANY: "queue_full", _UNAVAILABLE: "model_loading"}
_TIDES = (("first", EMBEDDER), ("second", EMBEDDER), ("first", "second"))
"""The pairs of models that are requested in turn; there is no memory for the third."""
_TIDE_SECONDS = 7.0


class Plan(Struct, frozen=True):
    """The requests, and their right responses."""

    questions: Sequence[Question]
    faults: Sequence[Fault]
    expected: Mapping[tuple[str, str], Story]
    """By model and question."""


class Soak:
    """The clients of one run, and their outcomes."""

    def __init__(self, port: int, plan: Plan, seed: int) -> None:
        self._port = port
        self._plan = plan
        self._draw = random.Random(seed)  # noqa: S311 - chosen for being repeatable
        self._began = time.monotonic()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def throw(self, clients: int, seconds: float) -> None:
        """Run *clients* for *seconds*."""
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

    # ── actions: each returns its name and the outcome ─────────────────────────────────────────

    async def _ask(self) -> tuple[str, str]:
        question, model = self._question()
        answer = await exchange(self._port, question.request(model))
        return question.name, self._judge(question, model, answer)

    async def _err(self) -> tuple[str, str]:
        fault = self._draw.choice(self._plan.faults)
        model = self._draw.choice(WRITERS)
        answer = await exchange(self._port, fault.request(model, EMBEDDER))
        return f"fault: {fault.name}", self._judge_refusal(fault, answer)

    async def _hang_up_early(self) -> tuple[str, str]:
        """Disconnect before the request is complete: in its headers or in its body."""
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
        """Disconnect after the request: while it waits for a model or a slot, or runs."""
        question, model = self._question(anybody=True)
        connection = await Connection.open(self._port)
        await connection.send(question.request(model))
        await asyncio.sleep(self._draw.uniform(0.0, 0.4))
        connection.hang_up()
        return "hang-up while waiting", "gone"

    async def _hang_up_reading(self) -> tuple[str, str]:
        """Disconnect in the middle of a stream."""
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

    # ── choices and checks ──────────────────────────────────────────────────────────────────────

    def _question(
        self, fits: Callable[[Question], bool] = lambda _: True, *, anybody: bool = False
    ) -> tuple[Question, str]:
        """Choose a question and a model: one that is requested now, or with *anybody* any one."""
        tide = _TIDES[int((time.monotonic() - self._began) / _TIDE_SECONDS) % len(_TIDES)]
        asked = (*WRITERS, EMBEDDER) if anybody else tide
        fitting = [
            (one, model)
            for one in self._plan.questions
            for model in asked
            if fits(one) and one.embeds == (model == EMBEDDER)
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
        """Check an error that any request may get: it has a code, and a Retry-After."""
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

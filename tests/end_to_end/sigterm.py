"""SIGTERM at any time: every client gets a response, and the process exits with 0.

    python -m tests.end_to_end.sigterm --times 200 [--seed N] [--backend fake]

A server is started, put under load, and gets SIGTERM, over and over. A client gets a whole
response, an error of the documented shape, or a stream that ends as its protocol has it, or it
finds the listener closed. Counted separately are kept connections that were closed between two
requests, and connections to a server that got SIGTERM before it could serve.
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from pilotlight_backend.testing.fake import FakeModel
from tests.backends import random_bert
from tests.end_to_end.test_process import PILOTLIGHT, environment, write_plugin

GOOD = ("answered", "error", "ended", "refused", "kept", "starting")
"""A whole answer; an error that is documented; a stream that ends with an error, and in order; a
connection that is refused once the listener is closed, so that no request was ever taken; a kept
connection that was closed as its next request was on its way, which HTTP/1.1 cannot exclude (RFC
9112, 9.5), and clients ask again; a connection to a server that had not begun to answer."""
BAD = ("unanswered", "cut", "malformed", "silent")
"""A connection that is closed without a word; an answer that stops in its middle; what no document
describes; nothing for a long time."""
_LONGEST = 30.0
"""Seconds in which something must be heard."""


class Moment(Struct, frozen=True):
    """When a server gets SIGTERM, and its grace period; both in seconds."""

    after: float
    grace: float
    starting: bool
    """Whether *after* counts from when the port is open, and not from its first answer."""


class Round(Struct):
    """What came of one server."""

    moment: Moment
    exit_code: int | None
    outcomes: Counter[tuple[str, str]]
    """How often, by what was asked and what came of it."""
    details: list[str]
    """What was bad, in words."""
    log: str
    """What the server said that it should not have had to say."""

    @property
    def held(self) -> bool:
        """Whether all was well."""
        bad = sum(count for (_, verdict), count in self.outcomes.items() if verdict in BAD)
        return self.exit_code == 0 and not bad and not self.log


# ── what clients are told ───────────────────────────────────────────────────────────────────────


def is_error(body: Any) -> bool:
    """Return whether *body* has a shape that errors have, OpenAI's or Anthropic's."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return False
    return {"message", "type", "param", "code"} <= error.keys()


def messages(stream: str) -> list[Any]:
    """Return the data of the events in *stream*; raises `ValueError` where the last is cut."""
    if not stream.endswith("\n\n"):
        raise ValueError(f"the stream ends within an event: {stream[-80:]!r}")
    data = [line[6:] for line in stream.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else msgspec.json.decode(one) for one in data]


def verdict_of_chat(events: Sequence[Any]) -> str:
    """Judge a stream of chunks: a finish reason and `[DONE]`, and before them perhaps an error."""
    if not events or events[-1] != "[DONE]":
        return "cut"
    chunks = [one for one in events[:-1] if "error" not in one]
    errors = [one for one in events[:-1] if "error" in one]
    reasons = [choice["finish_reason"] for one in chunks for choice in one["choices"]]
    if errors:
        held = is_error(errors[-1]) and (not chunks or reasons[-1] == "error")
        return "ended" if held else "malformed"
    return "answered" if reasons and reasons[-1] in ("stop", "length") else "cut"


def verdict_of_messages(events: Sequence[Any]) -> str:
    """Judge a stream of `/v1/messages`: it ends with `message_stop`, or with an error."""
    last = events[-1] if events else {}
    if last.get("type") == "error":
        return "ended" if is_error(last) else "malformed"
    return "answered" if last.get("type") == "message_stop" else "cut"


def verdict_of_responses(events: Sequence[Any]) -> str:
    """Judge a stream of `/v1/responses`: it ends with the event of its outcome."""
    match events[-1].get("type") if events else None:
        case "response.completed" | "response.incomplete":
            return "answered"
        case "error":
            return "ended" if is_error(events[-1]) else "malformed"
        case "response.failed":
            return "ended" if events[-1]["response"]["error"]["message"] else "malformed"
        case _:
            return "cut"


class Ask(Struct, frozen=True):
    """One kind of request."""

    name: str
    path: str
    body: dict[str, Any]
    judge: Callable[[Sequence[Any]], str] | None = None
    """Judges a stream's events; None where the answer comes whole."""


def asks_of(slow: str, embedder: str, late: Sequence[str]) -> list[Ask]:
    """Return what is asked: of a *slow* model, of one that embeds, and of such as load *late*."""
    said = [{"role": "user", "content": "What is 2+2?"}]
    chat = {"model": slow, "messages": said, "max_tokens": 64}
    streams = chat | {"stream": True}
    asks = [
        Ask("chat", "/v1/chat/completions", chat),
        Ask("chat stream", "/v1/chat/completions", streams, verdict_of_chat),
        Ask("completion stream", "/v1/completions", {"model": slow, "prompt": "a", "stream": True},
            verdict_of_chat),
        Ask("messages stream", "/v1/messages", streams, verdict_of_messages),
        Ask("responses stream", "/v1/responses", {"model": slow, "input": "a", "stream": True},
            verdict_of_responses),
        Ask("embeddings", "/v1/embeddings", {"model": embedder, "input": ["a b", "c"] * 4}),
    ]  # fmt: skip
    asks += [Ask("while loading", "/v1/chat/completions", chat | {"model": one}) for one in late]
    asks += [
        Ask("stream, loading", "/v1/chat/completions", streams | {"model": one}, verdict_of_chat)
        for one in late[:1]
    ]
    return asks


# ── one client ──────────────────────────────────────────────────────────────────────────────────


class Client:
    """Asks the same again and again, until the listener is closed."""

    def __init__(
        self, ask: Ask, url: str, *, keeps: bool, note: Callable[[str, str], None]
    ) -> None:
        """Make a client that *keeps* its connection, or opens one for each request.

        A kept one may be lost between two requests, as with HTTP/1.1 in general.
        """
        self._ask = ask
        self._url = url
        self._keeps = keeps
        self._note = note

    async def run(self, told: Callable[[], bool]) -> None:
        """Send requests until the listener is closed; *told* returns whether SIGTERM was sent."""
        limits = httpx.Limits(max_keepalive_connections=1 if self._keeps else 0)
        headers = {} if self._keeps else {"connection": "close"}
        async with httpx.AsyncClient(
            base_url=self._url,
            timeout=_LONGEST,
            limits=limits,
            headers=headers,
            verify=False,  # noqa: S501 - no TLS here, and certificates take long to read
            trust_env=False,
        ) as http:
            requests = 0
            while True:
                was_told = told()
                verdict, detail = await self._once(http)
                if verdict == "unanswered" and self._keeps and requests and told():
                    verdict = "kept"
                elif verdict == "refused" and not told():
                    # Nobody listens yet.
                    await asyncio.sleep(0.01)
                    continue
                self._note(verdict, detail)
                requests += 1
                if verdict in ("refused", "kept", *BAD):
                    return
                if was_told:  # being refused takes no time, and should not take the CPU either
                    await asyncio.sleep(0.05)

    async def _once(self, http: httpx.AsyncClient) -> tuple[str, str]:
        answer = None
        text = ""
        try:
            async with http.stream("POST", self._ask.path, json=self._ask.body) as answer:
                async for part in answer.aiter_text():
                    text += part
        except httpx.ConnectError as error:
            return ("refused", "") if _refused(error) else ("unanswered", _causes(error))
        except httpx.TimeoutException as error:
            return "silent", repr(error)
        except httpx.TransportError as error:
            said = "" if answer is None else f" after {answer.status_code} {text[-200:]!r}"
            return ("unanswered" if answer is None else "cut"), repr(error) + said
        return self._judged(answer.status_code, text)

    def _judged(self, status: int, text: str) -> tuple[str, str]:
        told = f"{status} {text[-400:]!r}"
        try:
            if status != 200:
                fine = status in (429, 500, 503) and is_error(msgspec.json.decode(text))
                return ("error" if fine else "malformed"), told
            if self._ask.judge is None:
                return ("error" if is_error(msgspec.json.decode(text)) else "answered"), told
            return self._ask.judge(messages(text)), told
        except (ValueError, LookupError, AttributeError) as error:
            return "malformed", f"{error!r}: {told}"


def _refused(error: BaseException | None) -> bool:
    """Return whether *error*, or its cause, is a refused connection."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(_refused(one) for one in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


def _causes(error: BaseException | None) -> str:
    causes = []
    while error is not None:
        causes.append(repr(error))
        error = error.__cause__ or error.__context__
    return " < ".join(causes)


# ── one server ──────────────────────────────────────────────────────────────────────────────────


class Load(Struct, frozen=True):
    """A folder of models with what is asked of them, and how a server of theirs is started."""

    asks: list[Ask]
    flags: tuple[str, ...]
    variables: dict[str, str]


def fake_load(folder: Path) -> Load:
    """Return a load on the fake backend, whose models are as slow as they say."""
    models = folder / "models"
    models.mkdir()
    FakeModel(reply="word " * 8, token_seconds=0.01).write(models / "slow.fake")
    FakeModel(embedding_length=8, token_seconds=0.01).write(models / "vectors.fake")
    for name, seconds in (("soon", 0.3), ("late", 1.0), ("latest", 4.0)):
        FakeModel(reply="Hi.", load_seconds=seconds, load_steps=20).write(models / f"{name}.fake")
    plugins = folder / "plugins"
    plugins.mkdir()
    write_plugin(plugins)
    path = os.pathsep.join([str(plugins), *filter(None, [os.environ.get("PYTHONPATH")])])
    asks = asks_of("slow", "vectors", ("soon", "late", "latest"))
    return Load(asks, ("--models-dir", str(models)), {"PYTHONPATH": path})


def spark_load(folder: Path) -> Load:
    """Return a load on llama.cpp: the embedded model, and an encoder with random weights."""
    models = folder / "models"
    models.mkdir()
    for name in ("bert", "other"):
        random_bert.write(models / f"{name}.gguf")
    flags = ("--models-dir", str(models), "--backends", "llama_cpp")
    return Load(asks_of("spark", "bert", ()), flags, {})


LOADS = {"fake": fake_load, "spark": spark_load}


@contextmanager
def process(load: Load, grace: float, log: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a server of *load* whose log is written to *log*; yield it and its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    nowhere = ("--models-file", str(log.with_name("none.yaml")))
    command = [PILOTLIGHT, "serve", "--host", "127.0.0.1", "--port", str(port), *nowhere]
    with log.open("wb") as errors:
        server = subprocess.Popen(
            [*command, "--grace", str(grace), *load.flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(**load.variables),
        )
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


async def one_round(load: Load, moment: Moment, folder: Path, *, each: int = 2) -> Round:
    """Start a server, put it under *load*, end it at *moment*; return what came of it.

    There are *each* clients of a kind that keep their connections, and as many that do not.
    """
    log = folder / "server.log"
    outcomes: Counter[tuple[str, str]] = Counter()
    details: list[str] = []

    def noting(ask: Ask, keeps: bool) -> Callable[[str, str], None]:  # noqa: FBT001
        def note(verdict: str, detail: str) -> None:
            outcomes[ask.name, verdict] += 1
            if verdict in BAD:
                kind = "a kept connection" if keeps else "a connection of its own"
                details.append(f"{ask.name}, {kind}: {verdict}: {detail}")

        return note

    with process(load, moment.grace, log) as (server, url):
        told = asyncio.Event()
        await asyncio.to_thread(_wait, server, url, until_open=moment.starting)
        clients = [
            Client(ask, url, keeps=keeps, note=noting(ask, keeps)).run(told.is_set)
            for ask in load.asks
            for keeps in (True, False)
            for _ in range(each)
        ]
        ended = _ended(server, moment, told)
        exit_code, *_ = await asyncio.gather(ended, *clients)
    if moment.starting:
        # The port is open before anybody could answer: who waits there is told nothing.
        outcomes, details = _forgiving(outcomes), []
    return Round(moment, exit_code, outcomes, details, complaints(log.read_text()))


def _wait(server: "subprocess.Popen[str]", url: str, *, until_open: bool) -> None:
    """Wait until *server* answers, or merely until its port is open."""
    address = httpx.URL(url)
    while server.poll() is None:
        with (
            suppress(ConnectionRefusedError),
            socket.create_connection((address.host, address.port)),
        ):
            break
    if not until_open:
        httpx.get(f"{url}/livez", timeout=_LONGEST, trust_env=False).raise_for_status()


def _forgiving(outcomes: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    forgiven: Counter[tuple[str, str]] = Counter()
    for (name, verdict), count in outcomes.items():
        forgiven[name, "starting" if verdict == "unanswered" else verdict] += count
    return forgiven


async def _ended(
    server: "subprocess.Popen[str]", moment: Moment, told: asyncio.Event
) -> int | None:
    """Send *server* SIGTERM at *moment*; return its exit code, None if it does not exit."""
    await asyncio.sleep(moment.after)
    told.set()
    server.send_signal(signal.SIGTERM)
    try:
        return await asyncio.to_thread(server.wait, moment.grace + _LONGEST)
    except subprocess.TimeoutExpired:
        server.kill()
        return None


def complaints(log: str) -> str:
    """Return the lines of *log* that report a failure."""
    lines = log.splitlines()
    return "\n".join(
        line for line in lines if "Traceback" in line or "ERROR" in line or '"error"' in line
    )


# ── many rounds ─────────────────────────────────────────────────────────────────────────────────


def moments(seed: int, times: int) -> list[Moment]:
    """Return when servers get SIGTERM: mostly under load, and one in eight as it starts."""
    chance = random.Random(seed)  # noqa: S311 - a test's seed is no secret
    return [
        Moment(
            after=chance.uniform(0, 1.0 if starting else 2.5),
            grace=chance.choice((0.0, 0.2, 1.0, 10.0)),
            starting=starting,
        )
        for starting in (chance.random() < 0.125 for _ in range(times))
    ]


def run(make: Callable[[Path], Load], seed: int, times: int) -> Iterator[Round]:
    """Run so many rounds of a load that *make* writes into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = make(folder)
        for moment in moments(seed, times):
            round_: Awaitable[Round] = one_round(load, moment, folder)
            yield asyncio.run(_awaited(round_))


async def _awaited(round_: Awaitable[Round]) -> Round:
    return await round_


def table(rounds: Sequence[Round]) -> str:
    """Return lines: what was asked, and how often what came of it; then what was bad."""
    total: Counter[tuple[str, str]] = Counter()
    for one in rounds:
        total += one.outcomes
    columns = (*GOOD, *BAD)
    lines = [f"{'asked':<20}" + "".join(f"{name:>12}" for name in columns)]
    lines += [
        f"{name:<20}" + "".join(f"{total[name, one]:>12}" for one in columns)
        for name in dict.fromkeys(name for name, _ in total)
    ]
    codes = Counter(one.exit_code for one in rounds)
    lines.append(f"exit codes: {', '.join(f'{code} ({n}x)' for code, n in codes.items())}")
    for number, one in enumerate(rounds):
        if not one.held:
            lines += ["", f"── round {number}: {one.moment}, exit code {one.exit_code}"]
            lines += [*one.details[:10], one.log]
    return "\n".join(lines)


def main() -> int:
    """Run the rounds of each backend, print their tables, and return 1 where one was bad."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--backend", choices=sorted(LOADS), action="append")
    given = parser.parse_args()
    held = True
    for name in given.backend or LOADS:
        print(f"{name}, --seed {given.seed}", flush=True)  # noqa: T201
        rounds = list(run(LOADS[name], given.seed, given.times))
        held = held and all(one.held for one in rounds)
        print(table(rounds), flush=True)  # noqa: T201
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

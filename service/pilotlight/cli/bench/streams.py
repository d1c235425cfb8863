"""A load generator: streams answers from any OpenAI-compatible server, and says how fast they came.

It speaks HTTP only, so it measures what a client sees, and peers can be measured with it too.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import httpx
import msgspec
from msgspec import Struct

_WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


class StreamFailed(Exception):
    """The server sent an error, or a stream that cannot be measured; the message is for users."""


class StreamFigures(Struct, frozen=True):
    """One streamed answer; times are seconds since the request was sent."""

    first_token: float
    last_token: float
    prompt_tokens: int
    completion_tokens: int


class RoundFigures(Struct, frozen=True):
    """Some streams at once."""

    streams: int
    seconds: float
    answers: Sequence[StreamFigures]

    @property
    def tokens_per_second(self) -> float:
        """Every stream's tokens together, over the time from the first request to the last byte."""
        return sum(answer.completion_tokens for answer in self.answers) / self.seconds

    @property
    def decode_tokens_per_second(self) -> float:
        """The same from when every stream has its first token: without the prompts' evaluation."""
        begun = max(answer.first_token for answer in self.answers)
        ended = max(answer.last_token for answer in self.answers)
        tokens = sum(answer.completion_tokens - 1 for answer in self.answers)
        return tokens / (ended - begun) if ended > begun else 0.0

    @property
    def first_token(self) -> float:
        """The median wait for the first token, in seconds."""
        return median(answer.first_token for answer in self.answers)


async def run_round(
    client: httpx.AsyncClient, *, model: str, streams: int, prompt_words: int, max_tokens: int
) -> RoundFigures:
    """Ask for *streams* answers at once, each to a prompt of its own, greedily."""
    requests = [
        _request(model, _prompt(prompt_words, number), max_tokens) for number in range(streams)
    ]
    began = time.perf_counter()
    answers = await asyncio.gather(*(_stream(client, request) for request in requests))
    return RoundFigures(streams, time.perf_counter() - began, answers)


def _prompt(words: int, number: int) -> str:
    """Return a text that begins unlike any other's, so that no prefix is reused."""
    text = (_WORDS[(number * 7 + word) % len(_WORDS)] for word in range(words))
    return f"{time.time_ns() % 1_000_000} {' '.join(text)}"


def _request(model: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def _stream(client: httpx.AsyncClient, request: dict[str, Any]) -> StreamFigures:
    """Read one stream. Chunks are only timed; the number of tokens is the usage's.

    Raises `StreamFailed`.
    """
    began = time.perf_counter()
    arrivals: list[float] = []
    tail = b""
    async with client.stream("POST", "chat/completions", json=request) as response:
        if not response.is_success:
            text = (await response.aread()).decode(errors="replace")
            raise StreamFailed(f"{response.status_code}: {text}")
        async for data in response.aiter_raw():
            arrivals.append(time.perf_counter() - began)
            tail = (tail + data)[-4096:]
    usage = _usage(tail)
    # The first piece carries the role alone, and may bring the first token with it or not.
    first = arrivals[min(1, len(arrivals) - 1)]
    return StreamFigures(first, arrivals[-1], usage["prompt_tokens"], usage["completion_tokens"])


def _usage(tail: bytes) -> dict[str, int]:
    """Return the usage of the stream's last chunk before `[DONE]`. Raises `StreamFailed`."""
    for line in reversed(tail.split(b"\n")):
        if line.startswith(b"data: {"):
            try:
                chunk = msgspec.json.decode(line[len(b"data: ") :])
            except msgspec.DecodeError:  # the line began before the tail, or the stream broke off
                continue
            if chunk.get("error"):
                raise StreamFailed(line.decode(errors="replace"))
            if usage := chunk.get("usage"):
                return usage  # type: ignore[no-any-return]
    raise StreamFailed("the stream has no usage, although stream_options.include_usage was set")


async def bench(
    url: str,
    *,
    model: str,
    streams: Sequence[int],
    rounds: int,
    prompt_words: int,
    max_tokens: int,
    headers: Mapping[str, str] | None = None,
) -> list[RoundFigures]:
    """Return every round's figures, *rounds* for each count in *streams*, after one warm-up.

    *url* is the API's base, with `/v1`; *headers* go with every request. Raises
    `StreamFailed` and `httpx.HTTPError`.
    """
    # A connection for each answer: llama-server now and then closes one after a stream without
    # having said so, and a request that meets its end is lost.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=url,
        timeout=None,  # noqa: S113 - a cold model may take minutes
        limits=limits,
        headers=headers,
    ) as client:
        await run_round(client, model=model, streams=1, prompt_words=8, max_tokens=4)
        return [
            await run_round(
                client,
                model=model,
                streams=count,
                prompt_words=prompt_words,
                max_tokens=max_tokens,
            )
            for count in streams
            for _ in range(rounds)
        ]


def table(figures: Sequence[RoundFigures]) -> list[tuple[str, ...]]:
    """Return the figures as rows with a header: the medians over each count's rounds."""
    rows: list[tuple[str, ...]] = [
        ("STREAMS", "TOKENS/S", "DECODE TOKENS/S", "FIRST TOKEN", "ROUNDS")
    ]
    for count in dict.fromkeys(round_.streams for round_ in figures):
        own = [round_ for round_ in figures if round_.streams == count]
        rows.append(
            (
                str(count),
                f"{median(round_.tokens_per_second for round_ in own):.1f}",
                f"{median(round_.decode_tokens_per_second for round_ in own):.1f}",
                f"{median(round_.first_token for round_ in own):.3f} s",
                str(len(own)),
            )
        )
    return rows

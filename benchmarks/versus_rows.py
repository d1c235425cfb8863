"""The rows of the comparison with llama-server, in groups that share a running server."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from benchmarks.versus_client import Heard, Refused, stream
from benchmarks.versus_servers import Running, Servers

_COMPLETIONS, _CHAT = "/v1/completions", "/v1/chat/completions"
_PROMPT, _ANSWER = 90, 48
_STREAMS = (1, 2, 4, 8, 16)
_AT_ONCE = 8
_LONG, _BESIDE = 4000, 4
_TOKENS = range(300, 1000)
"""Ids of plain tokens in any vocabulary."""
_MIB = 1 << 20
_PAUSE = 1.0
"""Seconds behind what warms a server up."""

_SCHEMA = {
    "type": "object",
    "properties": {
        "people": {
            "type": "array",
            "minItems": 40,
            "items": {
                "type": "object",
                "properties": {
                    "given_name": {"type": "string", "maxLength": 8},
                    "family_name": {"type": "string", "maxLength": 8},
                    "is_member": {"type": "boolean"},
                },
                "required": ["given_name", "family_name", "is_member"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["people"],
    "additionalProperties": False,
}
_FUNCTION = {
    "name": "get_weather_forecast",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "maxLength": 12},
            "temperature_unit": {"enum": ["celsius", "fahrenheit"]},
            "number_of_days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["location", "temperature_unit", "number_of_days"],
        "additionalProperties": False,
    },
}
_FILE = "\n".join(
    f"def value_{number}(items: list[int]) -> int:\n    return sum(items) + {number}\n"
    for number in range(24)
)


class Row(Struct, frozen=True):
    """A row of the table."""

    name: str


Figures: TypeAlias = Iterator[tuple[Row, float]]


class Draw:
    """Prompts of chance that no earlier one begins like."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))  # noqa: S311 - repeatable

    def prompt(self, tokens: int) -> list[int]:
        """Return so many tokens."""
        return [self._random.choice(_TOKENS) for _ in range(tokens)]


def _completion(server: Running, prompt: list[int], tokens: int) -> dict[str, Any]:
    return {
        "model": server.model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }


async def _at_once(server: Running, draw: Draw, streams: int) -> tuple[float, list[Heard]]:
    """Ask for so many completions at once; return the seconds until the last ends, and all."""
    began = time.perf_counter()
    heard = await asyncio.gather(
        *(
            stream(server.port, _COMPLETIONS, _completion(server, draw.prompt(_PROMPT), _ANSWER))
            for _ in range(streams)
        )
    )
    return time.perf_counter() - began, heard


def _warm(server: Running, draw: Draw) -> None:
    """Ask for a completion, and leave the server alone for what it does behind its first one."""
    asyncio.run(_at_once(server, draw, 1))
    time.sleep(_PAUSE)


# ── many streams ───────────────────────────────────────────────────────────────────────────────


def streams(servers: Servers, name: str, round_: int) -> Figures:
    """Yield tokens a second, first tokens of eight at once, and structured output."""
    draw = Draw(round_)
    with servers.running(name, slots=max(_STREAMS), length=1024) as server:
        _warm(server, draw)
        for count in _STREAMS:
            before = server.cpu_seconds()
            seconds, heard = asyncio.run(_at_once(server, draw, count))
            yield Row(f"CPU s, {count} streams"), server.cpu_seconds() - before
            tokens = sum(one.completion_tokens for one in heard)
            yield Row(f"tokens/s, {count} streams"), tokens / seconds
            if count == _AT_ONCE:
                firsts = [one.first_token for one in heard]
                yield Row(f"first token of {count} at once, median, s"), statistics.median(firsts)
                yield Row(f"first token of {count} at once, last, s"), max(firsts)


def structured(servers: Servers, name: str, round_: int) -> Figures:
    """Yield the seconds of a tool call and of JSON by schema."""
    question = f"Question {round_}: what will the weather be?"
    schema = {"name": "people", "schema": _SCHEMA, "strict": True}
    asked: dict[str, dict[str, Any]] = {
        "tool call by schema, s": {
            "messages": [{"role": "user", "content": question}],
            "tools": [{"type": "function", "function": _FUNCTION}],
            "tool_choice": "required",
            "max_tokens": 200,
        },
        "JSON by schema, 200 tokens, s": {
            "messages": [{"role": "user", "content": question}],
            "response_format": {"type": "json_schema", "json_schema": schema},
            "max_tokens": 200,
        },
    }
    with servers.running(name, slots=4, length=4096) as server:
        _warm(server, Draw(round_))
        for row, body in asked.items():
            whole = {"model": server.model, "temperature": 0, **body}
            try:
                yield Row(row), asyncio.run(stream(server.port, _CHAT, whole)).ended
            except Refused:  # a model without a chat template
                yield Row(row), float("nan")


def speculation(servers: Servers, name: str, round_: int) -> Figures:
    """Yield the seconds of an edit, with drafts and without.

    The completion begins with the file's first line, so that a small model copies as well.
    """
    first_line, _, _ = _FILE.partition("\n")
    edit = (
        f"# round {round_}\n{_FILE}\n\n# The same file, with value_7 called value_seven:\n"
        f"{first_line}\n"
    )
    body = {"prompt": edit, "max_tokens": 600, "temperature": 0, "ignore_eos": True}
    for drafts in (True, False):
        with servers.running(name, slots=4, length=4096, speculation=drafts) as server:
            _warm(server, Draw(round_))
            whole = {"model": server.model, **body}
            heard = asyncio.run(stream(server.port, _COMPLETIONS, whole))
            row = "with drafts" if drafts else "without"
            yield Row(f"edit of 600 tokens, {row}, s"), heard.ended
            yield Row(f"the same behind the first token, {row}, s"), heard.ended - heard.first_token


# ── long prompts and memory ────────────────────────────────────────────────────────────────────


def prefill(servers: Servers, name: str, round_: int) -> Figures:
    """Yield the seconds of a long prompt, alone and beside streams, and resident sets.

    The first one also waits for the longer context, which llama-server makes at its start.
    """
    draw = Draw(round_)
    with servers.running(name, slots=_AT_ONCE, length=_LONG + 608) as server:
        _warm(server, draw)
        yield Row("resident set, loaded, MiB"), server.resident() / _MIB
        asyncio.run(_at_once(server, draw, _AT_ONCE))
        yield Row(f"resident set, {_AT_ONCE} streams, MiB"), server.resident() / _MIB
        for row in ("the first, s", "the second, s"):
            alone = stream(server.port, _COMPLETIONS, _completion(server, draw.prompt(_LONG), 1))
            yield Row(f"prefill of {_LONG} tokens, {row}"), asyncio.run(alone).first_token
        first, gap = asyncio.run(_beside(server, draw))
        yield Row(f"the same beside {_BESIDE} streams, s"), first
        yield Row("longest gap of these streams, s"), gap


async def _beside(server: Running, draw: Draw) -> tuple[float, float]:
    """Return when a long prompt beside running streams has its first token, and their gap."""
    running = [
        asyncio.create_task(
            stream(server.port, _COMPLETIONS, _completion(server, draw.prompt(_PROMPT), 200))
        )
        for _ in range(_BESIDE)
    ]
    # Long enough that all of them decode.
    await stream(server.port, _COMPLETIONS, _completion(server, draw.prompt(_PROMPT), _ANSWER))
    long = await stream(server.port, _COMPLETIONS, _completion(server, draw.prompt(_LONG), 1))
    heard = await asyncio.gather(*running)
    return long.first_token, max(one.longest_gap for one in heard)


# ── the start ──────────────────────────────────────────────────────────────────────────────────


def start(servers: Servers, name: str, round_: int) -> Figures:
    """Yield the seconds and the CPU seconds from exec to the first token; pages are warm."""
    with servers.running(name, slots=4, length=4096, wait=False) as server:
        asyncio.run(_first(server, Draw(round_)))
        yield Row("exec to first token, s"), time.perf_counter() - server.began
        yield Row("exec to first token, CPU s"), server.cpu_seconds()


async def _first(server: Running, draw: Draw) -> None:
    """Ask as soon as the server listens, and again while it refuses."""
    body = _completion(server, draw.prompt(8), 1)
    while True:
        try:
            await stream(server.port, _COMPLETIONS, body)
        except (OSError, Refused, IndexError):
            await asyncio.sleep(0.005)
        else:
            return


GROUPS: Mapping[str, Callable[[Servers, str, int], Figures]] = {
    "prefill": prefill,
    "speculation": speculation,
    "start": start,
    "streams": streams,
    "structured": structured,
}

"""Time cold starts: start a server, send a request at once, and kill it at the first token.

A round is what the first caller of a service that scaled to zero sees: the process starts, the
request waits in the socket until the server accepts it, the model loads, the first token arrives.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import httpx
from msgspec import Struct

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_PHASE = re.compile(r"(\w+);dur=([0-9.]+)")
_COMMENT = ": server-timing: "
_STARTED_BY = 60.0
"""Seconds in which a server has to listen."""


class StartFailed(Exception):
    """The server exited or sent no response; the message is its own."""


class Start(Struct, frozen=True):
    """One cold start; times are seconds since exec."""

    cache: str
    """`warm`, or `dropped` if the page cache was emptied before."""
    listening: float
    first_token: float
    phases: Mapping[str, float]
    """The server's own timing, in seconds; see `Server-Timing`."""
    cpu: float = 0.0
    """CPU seconds of all threads until the first token, in user and kernel mode."""


def measure(
    serve: Sequence[str],
    *,
    model: str,
    prompt: str,
    rounds: int,
    files: Sequence[Path] | None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Start]:
    """Yield *rounds* starts of `pilotlight serve` with the arguments *serve*.

    Each has a warm page cache. If *files*, those of the model, are given, each is followed by one
    with an empty page cache. *headers* are sent with every request. Raises `StartFailed`.
    """
    # One client for all: making one takes time that is not the server's.
    with httpx.Client(timeout=600, headers=headers) as client:
        _start(client, serve, model, prompt, "warm")  # warms the page cache
        for _ in range(rounds):
            yield _start(client, serve, model, prompt, "warm")
            if files is not None:
                drop_page_cache(files)
                yield _start(client, serve, model, prompt, "dropped")


def drop_page_cache(files: Sequence[Path]) -> str:
    """Drop *files* from the page cache, or everything where the kernel allows it; return which."""
    os.sync()  # pages that are not written yet cannot be dropped
    try:
        _DROP_CACHES.write_text("3\n", encoding="ascii")
    except OSError:
        if not hasattr(os, "posix_fadvise"):  # macOS: only `purge`, as root
            return "nothing: this system cannot drop it"
        for file in files:
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "the model's files"
    return "everything"


def _start(
    client: httpx.Client, serve: Sequence[str], model: str, prompt: str, cache: str
) -> Start:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pilotlight", "serve", *serve]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        try:
            _wait_until_listening(server, port)
            listening = time.perf_counter() - began
            phases = ask(client, port, model, prompt)
            first_token = time.perf_counter() - began
        except httpx.HTTPError as error:
            raise StartFailed(str(error)) from error
        finally:
            cpu = _kill(server)
    return Start(cache, listening, first_token, phases, cpu)


def _kill(server: subprocess.Popen[bytes]) -> float:
    """Kill *server* and return the CPU seconds that it took."""
    server.kill()
    if server.returncode is not None:  # it has exited, and `poll` has collected it
        return 0.0
    _, status, usage = os.wait4(server.pid, 0)
    server.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _wait_until_listening(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.perf_counter() + _STARTED_BY
    while time.perf_counter() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if server.poll() is not None:
                assert server.stderr  # noqa: S101 - it was asked for
                raise StartFailed(server.stderr.read().decode(errors="replace").strip()) from None
            time.sleep(0.001)
        else:
            return
    raise StartFailed(f"the server did not listen within {_STARTED_BY:g} s")


def ask(client: httpx.Client, port: int, model: str, prompt: str) -> Mapping[str, float]:
    """Return the timing of the first request, at its first token."""
    request = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 2,
        "stream": True,
    }
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    headers = {"Prefer": "wait=45"}
    with client.stream("POST", url, json=request, headers=headers) as response:
        if response.is_error:
            raise StartFailed(response.read().decode(errors="replace"))
        for line in response.iter_lines():
            if line.startswith(_COMMENT):
                return {
                    name: float(milliseconds) / 1000 for name, milliseconds in _PHASE.findall(line)
                }
    raise StartFailed(
        "the model was loaded before the first request, so the response has no timing:"
        " run without --preload"
    )


# ── what is printed ─────────────────────────────────────────────────────────────────────────────

_SHOWN = ("import", "begin", "fetch", "read", "load", "warm", "queue", "prefill")
_LOAD = ("fetch", "read", "load", "warm")
_WIDTH = 48


def table(starts: Sequence[Start]) -> list[tuple[str, ...]]:
    """Return a header, and a row for each start and for each median; in seconds."""
    shown = [name for name in _SHOWN if any(name in start.phases for start in starts)]
    rows = [("CACHE", "ROUND", "LISTENING", *map(str.upper, shown), "FIRST TOKEN", "CPU")]
    for cache in dict.fromkeys(start.cache for start in starts):
        own = [start for start in starts if start.cache == cache]
        for number, start in enumerate(own, 1):
            rows.append(_row(str(number), start, shown))
        rows.append(_row("median", middle(own), shown))
    return rows


def _row(name: str, start: Start, shown: Sequence[str]) -> tuple[str, ...]:
    seconds = [start.listening, *(start.phases.get(phase, 0.0) for phase in shown)]
    seconds += [start.first_token, start.cpu]
    return (start.cache, name, *(f"{one:.3f}" for one in seconds))


def middle(starts: Sequence[Start]) -> Start:
    """Return the medians of *starts*, which have the same `cache`."""
    phases = dict.fromkeys(name for start in starts for name in start.phases)
    return Start(
        starts[0].cache,
        median(start.listening for start in starts),
        median(start.first_token for start in starts),
        {name: median(start.phases.get(name, 0.0) for start in starts) for name in phases},
        median(start.cpu for start in starts),
    )


def picture(start: Start) -> list[str]:
    """Return *start* as bars on one axis, from exec to the first token.

    The bar of a load starts where the load began, which for a preloaded model is during the
    imports; those of queue and prefill end where they ended. Gaps are work without a phase, such as
    finding the model and reading its template.
    """
    phases = start.phases
    bars = {"import": (0.0, phases.get("import", 0.0))}
    at = phases.get("begin", bars["import"][1])
    for name in _LOAD:
        if name in phases:
            bars[name] = (at, at + phases[name])
            at += phases[name]
    answering = start.first_token - phases.get("prefill", 0.0)
    bars["queue"] = (answering - phases.get("queue", 0.0), answering)
    bars["prefill"] = (answering, start.first_token)
    whole = max(end for _, end in bars.values())
    lines = []
    for name, (begin, end) in bars.items():
        first = min(round(begin / whole * _WIDTH), _WIDTH - 1)
        bar = " " * first + "█" * max(round(end / whole * _WIDTH) - first, 1)
        lines.append(f"{name:<8} {bar:<{_WIDTH}} {end - begin:.3f} s")
    lines.append(f"{'':<8} exec{'first token':>{_WIDTH - 4}} {start.first_token:.3f} s")
    return lines

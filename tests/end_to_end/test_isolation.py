"""A server whose engines have processes of their own: deaths under load, and how it ends."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks import engine_deaths, named_threads
from pilotlight_backend.testing.conformance.listener import eventually
from pilotlight_backend.testing.fake import FakeModel
from tests.conftest import CHAT, chat, events
from tests.end_to_end.test_process import environment, write_plugin


def test_deaths_under_load():
    """One of two models under load is killed until that hit five times: only its own streams fail.

    `python -m benchmarks.engine_deaths` does the same fifty times.
    """
    deaths = engine_deaths.run(rounds=5, streams=2)

    assert set(deaths.outcomes["other"]) == {"whole"}
    assert set(deaths.outcomes["dying"]) == {"whole", "inference_error"}
    assert len(deaths.rounds) == 5
    assert all(one.failed for one in deaths.rounds)
    assert deaths.processes == 0
    assert deaths.descriptors <= 0
    assert deaths.threads == {}
    assert 0 < deaths.executor <= 32


def test_threads_are_told_by_their_kind():
    """A thread that Python did not start has no name; a number in a name is no kind."""
    names = {"1": "MainThread", "2": "uvloop_0", "3": "uvloop_11", "4": "isolated dying"}
    found = named_threads.kinds([1, 2, 3, 4, 5], names)
    assert found == {"MainThread": 1, "uvloop": 2, "isolated dying": 1, "native": 1}


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        ({"uvloop": 1}, {"uvloop": 5}, {}),
        ({"sender": 2}, {"sender": 2, "native": 1}, {"native": 1}),
        ({"close": 1, "sender": 2}, {"sender": 2}, {"close": -1}),
    ],
)
def test_what_a_death_leaves_is_told_apart_from_the_executor(before, after, more):
    """Its threads come as they are needed and stay; all others have to be gone."""
    held = (engine_deaths.Held(Counter(one), files=0) for one in (before, after))
    assert engine_deaths.more_threads(*held) == more


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Serve the fakes in *folder*, each in its process, from a process group of their own."""
    write_plugin(folder)
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pilotlight", "serve", "--models-dir", str(folder)),
            *("--port", "0", "--isolation", "process", *flags),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(PYTHONPATH=path),
        start_new_session=True,
    )
    try:
        yield process, engine_deaths._url(process.stdout)
    finally:
        process.kill()
        process.communicate()


def engines(process: "subprocess.Popen[str]") -> list[int]:
    return list(engine_deaths.Server(process, "").engines().values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_whole_group_lets_streams_end(tmp_path, number):
    """As Ctrl-C and a service manager send it, to every process: a stream still is whole."""
    FakeModel(reply="x" * 300, token_seconds=0.005).write(tmp_path / "m.fake")
    with served(tmp_path) as (process, url):
        body = chat(stream=True)
        with httpx.stream("POST", url + CHAT, json=body, timeout=30) as answer:
            lines = answer.iter_text()
            text = next(lines)
            (pid,) = engines(process)
            os.killpg(process.pid, number)
            os.kill(pid, number)
            text += "".join(lines)
        assert process.wait(30) == 0
    told = events(text)
    assert told[-1] == "[DONE]"
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert not Path(f"/proc/{pid}").exists()


def test_server_that_is_killed_takes_its_engines_along(tmp_path):
    """Without a server they end by themselves."""
    for name in ("m", "n"):
        FakeModel(reply="Hello.").write(tmp_path / f"{name}.fake")
    with served(tmp_path) as (process, url):
        for name in ("m", "n"):
            httpx.post(url + CHAT, json=chat(name), timeout=30).raise_for_status()
        pids = engines(process)
    assert len(pids) == 2
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_shutdown_ends_an_engine_that_hangs(tmp_path):
    """The grace is over, the process is killed, and the server ends with status 0."""
    FakeModel(reply="x" * 300, hang_after=3).write(tmp_path / "m.fake")
    with served(tmp_path, "--grace", "0.2", "--step-timeout", "0") as (process, url):
        body = chat(stream=True)
        with httpx.stream("POST", url + CHAT, json=body, timeout=30) as answer:
            lines = answer.iter_text()
            text = next(lines)
            process.terminate()
            text += "".join(lines)
        assert process.wait(30) == 0
    *_, error, broken, done = events(text)
    assert error["error"]["code"] == "inference_error"
    assert broken["choices"][0]["finish_reason"] == "error"
    assert done == "[DONE]"

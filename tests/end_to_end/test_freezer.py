"""Cloud Run's request-based billing, emulated: the process is frozen between requests.

Between a proxy and `pilotlight serve`: while no request is in flight the process is stopped, as the
platform takes the CPU away; with the first one it goes on. It computes freely from its start until
it listens, as it does until the platform's start-up probe passes.
"""

import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from pilotlight_backend.testing.fake import FakeModel
from tests.conftest import CHAT, chat
from tests.end_to_end.test_process import environment, write_plugin

PILOTLIGHT = str(Path(sysconfig.get_path("scripts")) / "pilotlight")
LOAD_SECONDS = 1.0


class Frozen:
    """A serving process that runs only while a request of `ask` is in flight."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process = process
        self.ran = 0.0
        """Seconds in which it ran since it was frozen first."""
        self.url = f"http://127.0.0.1:{port}"
        while True:  # the start-up probe
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.005)
        self._stop()

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        while " T " not in Path(f"/proc/{self.process.pid}/stat").read_text():
            time.sleep(0.001)

    def ask(self, **headers: str) -> httpx.Response:
        """Send one chat request; the CPU is there for as long as it takes."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGCONT)
        try:
            return httpx.post(self.url + CHAT, json=chat("slow"), headers=headers, timeout=60)
        finally:
            self._stop()
            self.ran += time.monotonic() - began


@contextmanager
def frozen(folder: Path, *flags: str, **variables: str) -> Iterator[Frozen]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [PILOTLIGHT, "serve", "--models-dir", str(folder), "--models-file", os.devnull, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(PORT=str(port), PYTHONPATH=str(folder), **variables),
    )
    try:
        yield Frozen(process, port)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def write_slow(folder: Path, seconds: float) -> None:
    # A step is short, so that what is computed while frozen would show.
    model = FakeModel(reply="Here I am.", load_seconds=seconds, load_steps=100)
    model.write(folder / "slow.fake")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Frozen]]:
    write_plugin(tmp_path)
    write_slow(tmp_path, LOAD_SECONDS)
    with ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(frozen(tmp_path, *flags, **more))


def test_a_cold_request_is_answered_at_its_first_try(start):
    """On Cloud Run's profile, which is found by itself, the request is held until the model is."""
    answer = start(K_SERVICE="assistant").ask()
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Here I am."


def test_a_preloaded_model_is_waited_for_too(start):
    """Its load was frozen with the process, and goes on with the request."""
    answer = start("--preload", "slow", K_SERVICE="assistant").ask()
    assert answer.status_code == 200


def test_without_a_hold_the_load_stands_still(start, tmp_path):
    """What the profile is for: a 503 at once, and the load is no further when one comes back.

    On a slow machine the requests themselves take as long as the load: then it is a longer one.
    """
    for seconds in (LOAD_SECONDS, 5 * LOAD_SECONDS, 25 * LOAD_SECONDS):
        write_slow(tmp_path, seconds)
        server = start("--hold", "0", K_SERVICE="assistant")
        first = server.ask().status_code
        time.sleep(seconds)  # unfrozen, the load would be over by now
        second = server.ask().status_code
        if server.ran < seconds:
            assert (first, second) == (503, 503)
            return
    pytest.fail(f"two requests took longer than a load of {seconds:g} s")

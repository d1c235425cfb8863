"""API keys of the real process: it is closed, reloads them, and reveals none."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pilotlight_backend.testing.fake import FakeModel
from tests.conftest import CHAT, chat
from tests.end_to_end.test_process import PILOTLIGHT, environment, run, write_plugin

ANN = "s3cret-0f-ann"
BOB = "s3cret-0f-b0b"
LATER = "s3cret-later"
WRONG = "s3cret-0f-n0b0dy"


class Process:
    """A serving process, with its models in *folder*, and all that it wrote and answered."""

    def __init__(self, folder: Path, *flags: str, **variables: str) -> None:
        nowhere = ("--models-dir", str(folder), "--models-file", str(folder / "none.yaml"))
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [PILOTLIGHT, "serve", "--host=127.0.0.1", "--port=0", *nowhere, *flags],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(**variables),
            )
        self.printed = ""
        while "-d '" not in self.printed:
            line = self.process.stdout.readline()
            assert line, self.log
            self.printed += line
        self._url = re.search(r"http://[0-9.:]+", self.printed)[0]
        self.answered = ""

    @property
    def log(self) -> str:
        """What it wrote to standard error up to now."""
        return self._log.read_text()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> int:
        """Return the status of a request; its answer is kept."""
        answer = httpx.request(method, self._url + path, json=body, headers=headers, timeout=60)
        self.answered += f"{answer.headers} {answer.text}\n"
        return answer.status_code


@contextmanager
def serving(folder: Path, *flags: str, **variables: str) -> Iterator[Process]:
    server = Process(folder, *flags, **variables)
    try:
        yield server
        server.process.terminate()
        rest, _ = server.process.communicate(timeout=30)
        server.printed += rest
        assert server.process.returncode == 0, server.log
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def test_no_key_is_told_to_anybody(tmp_path: Path):
    """Right or wrong, in a log, a metric, an error, or where a file is broken.

    All that a server wrote at its most talkative is searched, and all that it answered.
    """
    keys = tmp_path / "keys"
    keys.write_text(f"ann:{ANN}\n")
    FakeModel(reply="Hello.").write(tmp_path / "m.fake")
    FakeModel(fail_after=0).write(tmp_path / "broken.fake")
    path = (str(write_plugin(tmp_path)), *filter(None, sys.path))
    with serving(
        tmp_path,
        f"--api-keys-file={keys}",
        "--failed-keys-per-minute=0",  # a key is tried below until it is known
        "--log-level=debug",
        PILOTLIGHT_API_KEYS=f"bob:{BOB}",
        PYTHONPATH=os.pathsep.join(path),
    ) as server:
        for key, let_in in ((ANN, True), (BOB, True), (WRONG, False)):
            for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                for method, path, body, status in (
                    ("POST", CHAT, chat(), 200),
                    ("POST", CHAT, chat("broken"), 500),
                    ("POST", CHAT, {"model": 1}, 400),
                    ("POST", "/v1/messages", {}, 400),
                    ("GET", "/metrics", None, 200),
                    ("GET", "/nothing", None, 404),
                ):
                    asked = server.ask(method, path, body, **headers)
                    assert asked == (status if let_in else 401)

        keys.write_text(f"{LATER}\n")
        while "stay valid" not in server.log:
            assert server.ask("GET", "/v1/models", **{"x-api-key": ANN}) == 200
        (tmp_path / "fresh").write_text(f"ann:{LATER}")
        (tmp_path / "fresh").replace(keys)
        while server.ask("GET", "/v1/models", **{"x-api-key": LATER}) != 200:
            assert server.process.poll() is None
        assert server.ask("GET", "/v1/models", **{"x-api-key": ANN}) == 401

    assert "reloaded" in server.log
    assert 'model="broken"' in server.answered  # the metrics were among the answers
    assert "s3cret" not in server.printed + server.log + server.answered


def test_a_header_does_not_say_who_the_peer_is(tmp_path: Path):
    """`X-Forwarded-For` is what uvicorn would trust from loopback, or from configured addresses."""
    with serving(tmp_path, "--trusted-proxies=127.0.0.1", FORWARDED_ALLOW_IPS="*") as server:
        user = {"x-forwarded-user": "ann"}
        for forwarded in ({}, {"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"}):
            assert server.ask("GET", "/v1/models", **user, **forwarded) == 200
        assert server.ask("GET", "/v1/models", **{"x-forwarded-for": "127.0.0.1"}) == 401


@pytest.mark.parametrize(
    ("flags", "variables", "warned"),
    [
        (["--host=0.0.0.0"], {}, True),
        ([], {}, False),
        (["--host=0.0.0.0"], {"PILOTLIGHT_API_KEYS": ANN}, False),
        (["--host=0.0.0.0", "--trusted-proxies=10.0.0.1"], {}, False),
    ],
)
def test_it_warns_where_everybody_may_use_it(tmp_path: Path, flags, variables, warned):
    """Not on loopback alone, nor where a caller has to be known."""
    with serving(tmp_path, *flags, **variables) as server:
        assert server.ask("GET", "/livez") == 200
        assert ("anyone who can reach 0.0.0.0 can use this server" in server.log) == warned
    assert ANN not in server.printed + server.log


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["--api-keys-file={folder}/keys"], {}, "keys: line 2: expected name:key"),
        (["--api-keys-file={folder}/none"], {}, "none: cannot be read: No such file"),
        ([], {"PILOTLIGHT_API_KEYS": "s3cret,s3cret"}, "PILOTLIGHT_API_KEYS: entry 2: its key"),
        ([], {"PILOTLIGHT_API_KEYS": ""}, "PILOTLIGHT_API_KEYS: its value is invalid"),
        (["--trusted-proxies=proxy"], {}, "--trusted-proxies: 'proxy' does not appear to be"),
        (["--required-group=a"], {}, "--required-group: --trusted-proxies is required too"),
    ],
)
def test_bad_keys_end_the_start(tmp_path: Path, arguments, variables, named):
    """One line says what is wrong, and nothing is served without the keys that were meant."""
    (tmp_path / "keys").write_text("ann:one\ns3cret\n")
    flags = [flag.replace("{folder}", str(tmp_path)) for flag in arguments]

    ended = run("serve", "--port=0", *flags, **variables)

    assert ended.returncode != 0
    assert named in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "s3cret" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "flags",
    [["--api-keys", ANN], [f"--api-keys={ANN}"], ["--api-key", ANN], [f"--api-key={ANN}"]],
)
def test_a_key_is_no_flag(flags):
    """It is refused without being printed: other users can read a command line."""
    ended = run("serve", "--port=0", *flags)
    assert ended.returncode != 0
    assert "set PILOTLIGHT_API_KEYS" in ended.stderr
    assert ANN not in ended.stdout + ended.stderr


def test_no_other_command_tells_a_key():
    """Neither the settings' table nor the help nor the document."""
    for command in (["settings"], ["serve", "--help"], ["openapi"], ["models"]):
        done = run(*command, PILOTLIGHT_API_KEYS=f"ann:{ANN}")
        assert done.returncode == 0, done.stderr
        assert ANN not in done.stdout + done.stderr
        assert "--api-keys " not in done.stdout

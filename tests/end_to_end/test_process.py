"""`pilotlight serve` as people run it: a process, its output, its signals."""

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pilotlight_backend.testing.fake import FakeModel
from tests.conftest import CHAT, chat

PILOTLIGHT = str(Path(sysconfig.get_path("scripts")) / "pilotlight")
REPOSITORY = Path(__file__).parents[2]


def environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_") and k != "PORT"}
    nothing_kept = {"PILOTLIGHT_CACHE_DIR": os.devnull + "/none"}
    return kept | {"PYTHONUNBUFFERED": "1"} | nothing_kept | variables


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PILOTLIGHT, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**variables),
    )


class Served:
    """A serving process; *output* is what it printed until it said where it listens."""

    def __init__(self, command: list[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(**variables),
        )
        self.output = ""
        while "-d '" not in self.output:
            line = self.process.stdout.readline()
            assert line, "the server ended"
            self.output += line
        self.url = re.search(r"http://[0-9.]+:[0-9]+", self.output)[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def served(*flags: str, command: str = PILOTLIGHT, **variables: str) -> Iterator[Served]:
    server = Served([command, "serve", *flags], **variables)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    nowhere = ("--models-dir", str(tmp_path / "m"), "--models-file", str(tmp_path / "m.yaml"))
    with ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(served(*nowhere, *flags, **more))


def test_a_preload_name_that_no_model_has_ends_the_start(tmp_path: Path):
    """One line with the nearest name and status 1, before anything is announced."""
    told = run(
        *("serve", "--port", "0", "--models-dir", str(tmp_path), "--preload", "sparc"),
    )
    line = (
        "--preload sparc: no model has this name; did you mean spark?"
        " `pilotlight models` lists the models"
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.splitlines()[-1] == f"pilotlight: {line}"
    assert "Traceback" not in told.stderr


def test_a_preload_name_is_looked_for_beside_serving(start, tmp_path: Path):
    """A folder that takes long to search holds up no probe; the name still ends the server."""
    found = tmp_path / "found"
    patch = (
        "import pathlib, time\n"
        "from pilotlight.models.discovery import Discovery\n"
        "scan = Discovery.scan\n"
        "def wait(*given):\n"
        f"    while not pathlib.Path({str(found)!r}).exists():\n"
        "        time.sleep(0.01)\n"
        "    return scan(*given)\n"
        "Discovery.scan = wait\n"
    )
    (tmp_path / "sitecustomize.py").write_text(patch, encoding="utf-8")
    server = start("--preload", "sparc", PYTHONPATH=str(tmp_path))
    assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
    assert httpx.get(f"{server.url}/readyz", timeout=30).json()["status"] == "loading"
    found.touch()
    assert server.process.wait(30) == 1


def test_the_printed_curl_line_works(start):
    """What `serve` prints can be pasted, and answers."""
    server = start()
    line = re.search(r"curl .* -d '.*'", server.output)[0]

    answer = subprocess.run(
        ["bash", "-c", f"exec {line} --silent --max-time 60"],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert '"content":"' in answer.stdout
    assert "4" in answer.stdout


def test_it_listens_before_it_can_answer(tmp_path: Path):
    """The port is open before the application is imported; an early request is answered."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [PILOTLIGHT, "serve", "--port", str(port), "--models-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)):
                    break
            except ConnectionRefusedError:
                time.sleep(0.005)
        libraries = Path(f"/proc/{process.pid}/maps").read_text()
        assert "httptools" not in libraries
        assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=30).status_code == 200
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_sigterm_ends_it_with_status_0(start):
    """SIGTERM is how platforms stop a container; it is no failure."""
    server = start()
    assert httpx.get(f"{server.url}/livez", timeout=30).json() == {"status": "ok", "hanging": []}

    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["serve", "--port", "x"], {}, "--port"),
        (["serve", "--port", "70000"], {}, "--port"),
        (["serve", "--hold", "-1"], {}, "--hold"),
        (["serve", "--memory-budget", "much"], {}, "--memory-budget"),
        (["serve"], {"PILOTLIGHT_PARALLEL": "0"}, "PILOTLIGHT_PARALLEL"),
        (["serve"], {"PILOTLIGHT_PARALEL": "2"}, "PILOTLIGHT_PARALEL"),
        (["serve"], {"PORT": "http"}, "PORT"),
        (["serve", "--host", "203.0.113.1"], {}, "--host 203.0.113.1"),
        (["models", "--models-file", "{folder}/bad.yaml"], {}, "models.a.contxt"),
        (["serve", "--models-file", "{folder}/format.yaml", "--port", "0"], {}, "reasoning_format"),
    ],
)
def test_bad_configuration_is_one_line(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], named: str
):
    """What is wrong with the configuration is said in one line that names it, with no traceback."""
    (tmp_path / "bad.yaml").write_text("models: {a: {path: x.gguf, contxt: 3}}")
    (tmp_path / "format.yaml").write_text("a: {path: x.gguf, reasoning_format: loud}")

    ended = run(*(part.replace("{folder}", str(tmp_path)) for part in arguments), **variables)

    assert ended.returncode != 0
    assert ended.stderr.startswith("pilotlight: ")
    assert ended.stderr.count("\n") == 1
    assert named.rpartition(".")[2] in ended.stderr


def test_models_lists_what_there_is(tmp_path: Path):
    """`pilotlight models` shows name, source and backend of each model."""
    (tmp_path / "torn.gguf").write_bytes(b"GGUF\3\0\0\0")

    listed = run("models", "--models-dir", str(tmp_path), "--models-file", str(tmp_path / "none"))

    rows = {line.split()[0]: line.split() for line in listed.stdout.splitlines()}
    assert rows["spark"][1:4] == ["embedded", "llama_cpp", "qwen3"]
    assert rows["torn"][1:3] == ["discovered", "-"]


def uv() -> str:
    beside = REPOSITORY / ".venv/bin/uv"
    return str(beside) if beside.exists() else "uv"


def install(python: Path, *what: str) -> None:
    """Install from uv's cache, or from the registry where it lacks something."""
    command = [uv(), "pip", "install", "--quiet", "--python", str(python), *what]
    for extra in (["--offline"], []):
        done = subprocess.run([*command, *extra], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
    raise AssertionError(done.stderr)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the distributions; return uv's options that find them, and llama-cpp-python's wheel.

    That one is the wheel which `make` compiled, and which every environment installs.
    """
    dist = tmp_path_factory.mktemp("dist")
    for package in ("contract", "isolation", "llama_cpp", "onnx", ".."):
        command = [uv(), "build", "--quiet", "--offline", "--no-sources", "--wheel"]
        subprocess.run([*command, "--out-dir", dist, REPOSITORY / "backends" / package], check=True)
    compiled = REPOSITORY / "build/wheels"
    assert list(compiled.glob("llama_cpp_python-*.whl"))
    return [f"--find-links={dist}", f"--find-links={compiled}"]


class Ending:
    """A server with one slow stream that gets SIGTERM."""

    def __init__(self, start: Callable[..., Served], tmp_path: Path, *, grace: str) -> None:
        models = tmp_path / "m"
        models.mkdir()
        FakeModel(reply="word " * 40, token_seconds=0.05).write(models / "slow.fake")
        plugin = write_plugin(tmp_path)
        self.server = start("--grace", grace, PYTHONPATH=str(plugin))
        self.client = httpx.Client(base_url=self.server.url, timeout=30)
        body = chat("slow", stream=True, max_tokens=300)
        self._stream = self.client.stream("POST", CHAT, json=body)
        self._lines = self._stream.__enter__().iter_lines()
        self.first = next(self._lines)
        self.server.process.send_signal(signal.SIGTERM)

    def rest(self) -> list[str]:
        lines = [line for line in self._lines if line]
        self._stream.__exit__(None, None, None)
        self.client.close()
        return lines


def test_sigterm_lets_a_stream_end(start, tmp_path: Path):
    """Within the grace a running stream completes, and no other request is admitted."""
    ending = Ending(start, tmp_path, grace="30")
    with httpx.Client(base_url=ending.server.url, timeout=30) as other:
        while other.get("/readyz").status_code != 503:
            pass
        assert other.get("/readyz").json()["status"] == "draining"
        assert other.get("/livez").status_code == 200
        refused = other.post(CHAT, json=chat("slow"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["error"]["code"] == "shutting_down"

    rest = ending.rest()

    assert rest[-1] == "data: [DONE]"
    assert '"finish_reason":"stop"' in rest[-2]
    assert ending.server.process.wait(30) == 0


def test_sigterm_ends_a_stream_that_takes_too_long(start, tmp_path: Path):
    """After the grace a stream is ended with an error that clients understand, and `[DONE]`."""
    ending = Ending(start, tmp_path, grace="0.2")

    rest = ending.rest()

    assert rest[-1] == "data: [DONE]"
    assert '"code":"inference_error"' in rest[-3]
    assert '"finish_reason":"error"' in rest[-2]
    assert ending.server.process.wait(30) == 0


def write_plugin(folder: Path) -> Path:
    """Write an entry point of the fake backend into *folder*, for a process's PYTHONPATH."""
    info = folder / "fake-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[pilotlight]\nfake = pilotlight_backend.testing.plugin\n"
    )
    return folder


START = """
import sys
import pilotlight.cli, pilotlight.server.process, pilotlight.service
from pilotlight.server import deferred_modules
deferred_modules.defer()
import pilotlight.server.app, pilotlight.server.http_server

run = sys.modules.keys() - deferred_modules._waiting
names = {name.partition(".")[0] for name in run if not name.startswith("_")}
print(*sorted(names - sys.stdlib_module_names - {"cython_runtime"}))
"""
IMPORTED = {
    *("pilotlight", "pilotlight_backend", "msgspec", "pluggy"),
    *("uvicorn", "httptools", "typing_extensions"),
}
"""Every package that a start imports: each costs the first caller's time; Litestar's come later."""


@pytest.mark.parametrize("backend", ["llama_cpp", "onnx"])
def test_the_wheels_serve_without_any_development_package(
    tmp_path: Path, wheels: list[str], backend: str
):
    """`pilotlight[BACKEND]` from the built wheels answers, with the pinned requirements alone."""
    home = tmp_path / "venv"
    subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, str(home)], check=True)
    python = home / "bin/python"
    install(python, "--require-hashes", "-r", str(REPOSITORY / f"requirements/serve-{backend}.txt"))
    # Without an index, what the wheels require has to be there by now.
    extra = backend.replace("_", "-")
    install(python, "--no-index", *wheels, f"pilotlight[{extra}]")

    (other,) = {"pilotlight_llama_cpp", "pilotlight_onnx"} - {f"pilotlight_{backend}"}
    for name in ("pydantic", "pytest", "openai", "schemathesis", "hypothesis", "mypy", other):
        probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is not None)"
        assert subprocess.run([str(python), "-c", probe], check=False).returncode == 0, name
    listed = subprocess.run(
        [str(python), "-c", START], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(listed) == IMPORTED
    # Not the folder of the environment: the files of spark would be found there.
    none = str(tmp_path / "none")
    with served(
        "--models-dir", none, "--models-file", none, command=str(home / "bin/pilotlight")
    ) as server:
        answer = httpx.post(server.url + CHAT, json=chat("spark", "What is 2+2?"), timeout=60)
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
        (spark,) = httpx.get(f"{server.url}/v1/models").json()["data"]
        assert spark["backend"] == backend
        # The projector is in the wheel, beside the model.
        assert ("image" in spark["input_modalities"]) == (backend == "llama_cpp")


def test_livez_answers_while_a_model_loads(tmp_path: Path):
    """Whatever is being loaded, `/livez` answers, and `/readyz` says how far it is."""
    model: dict[str, Any] = {"load_seconds": 3600.0}
    FakeModel(**model).write(tmp_path / "slow.fake")
    write_plugin(tmp_path)
    flags = ("--models-dir", str(tmp_path), "--models-file", str(tmp_path / "none.yaml"))
    with served(*flags, "--preload", "slow", PYTHONPATH=str(tmp_path)) as server:
        for _ in range(20):
            assert httpx.get(f"{server.url}/livez", timeout=10).status_code == 200
        ready = httpx.get(f"{server.url}/readyz", timeout=10)
        assert ready.status_code == 503
        assert ready.json()["status"] == "loading"
        assert ready.json()["models"][0]["id"] == "slow"

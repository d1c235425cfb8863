"""`pilotlight pull` as people run it: a process, its output, its signals."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.fetch.hub import be_hub

pytestmark = pytest.mark.slow

MEGA = 2**20
DATA = random.Random(3).randbytes(80 * MEGA)  # noqa: S311 - the same in each run


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """Let SIGINT end what is started here: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pull(models_dir: Path, tmp_path: Path):
    """Return a function that starts a pull into `models_dir`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_") and k != "PORT"}

    started: list[subprocess.Popen[str]] = []

    def pull(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pilotlight", "pull", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=kept
            | {
                "PILOTLIGHT_MODELS_DIR": str(models_dir),
                "PILOTLIGHT_MODELS_FILE": str(tmp_path / "models.yaml"),
                "PYTHONWARNINGS": "error",
            },
        )
        started.append(process)
        return process

    yield pull
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def noted(state: Path) -> int:
    """Return the bytes that are noted as done."""
    (file,) = json.loads(state.read_bytes())
    return sum(end - start for start, end in file["done"])


def test_model_is_pulled_and_named(server, pull, models_dir):
    """The output has the path and the name; a second time nothing is fetched."""
    path = next(Path("backends").rglob("spark.gguf"))
    server.files["/weights/tiny.gguf"] = path.read_bytes()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    command = (f"{server.url}/weights/tiny.gguf", "--name", "Mine", "--sha256", sha256)
    status, output, errors = ended(pull(*command))
    assert (status, output) == (0, f"{models_dir}/Mine.gguf\nserved as mine\n"), errors
    assert "100 %" in errors
    asked = len(server.asked)
    status, output, errors = ended(pull(*command))
    assert (status, output) == (
        0,
        f"{models_dir}/Mine.gguf (already there)\nserved as mine\n",
    )
    assert len(server.asked) == asked


@pytest.fixture
def hub(server, monkeypatch: pytest.MonkeyPatch):
    """Let the server be the Hub of each pull."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


def test_projector_comes_with_a_model_of_the_hub(hub, pull, models_dir):
    """The output has both paths, and without the projector the model's alone."""
    model = next(Path("backends").rglob("spark.gguf")).read_bytes()
    be_hub(hub, {"tiny-Q8_0.gguf": model, "mmproj-F16.gguf": DATA[:5000]})
    status, output, errors = ended(pull("hf://owner/repo/tiny-Q8_0.gguf", "--name", "Mine"))
    assert (status, output) == (
        0,
        f"{models_dir}/mmproj-Mine-F16.gguf\n{models_dir}/Mine.gguf\nserved as mine\n",
    ), errors
    status, output, errors = ended(pull("hf://owner/repo/tiny-Q8_0.gguf", "--no-mmproj"))
    assert (status, output.splitlines()[0]) == (0, f"{models_dir}/tiny-Q8_0.gguf"), errors
    assert sorted(path.name for path in models_dir.glob("[!.]*")) == [
        "Mine.gguf",
        "mmproj-Mine-F16.gguf",
        "tiny-Q8_0.gguf",
    ]


def test_each_model_of_a_pulled_folder_is_named(hub, pull, models_dir, tmp_path):
    """By models.yaml where that names its file, by whatever path."""
    model = next(Path("backends").rglob("spark.gguf")).read_bytes()
    be_hub(hub, {"q4.gguf": model, "q8.gguf": model, "README.md": b"#"})
    (tmp_path / "models.yaml").write_text("best: models/../models/repo/q8.gguf")
    status, output, errors = ended(pull("hf://owner/repo"))
    assert (status, output) == (0, f"{models_dir}/repo\nserved as q4, best\n"), errors


def test_projector_that_is_pulled_later_is_that_of_its_model(hub, pull, models_dir):
    """And of no model, where its name says whose it is and that one is not there."""
    models_dir.mkdir()
    package = Path("backends/llama_cpp/pilotlight_llama_cpp")
    (models_dir / "mine.gguf").write_bytes((package / "spark.gguf").read_bytes())
    be_hub(hub, {"mmproj-F16.gguf": (package / "mmproj-spark.gguf").read_bytes()})
    address = "hf://owner/repo/mmproj-F16.gguf"
    status, output, errors = ended(pull(address, "--name", "mmproj-Mine"))
    assert (status, output) == (0, f"{models_dir}/mmproj-Mine.gguf\nprojector of mine\n"), errors
    status, output, errors = ended(pull(address, "--name", "mmproj-other"))
    assert (status, output.splitlines()[1].partition(";")[0]) == (0, "projector of no model here")


def test_what_nobody_serves_is_said(server, pull):
    """The file is there all the same."""
    server.files["/m.bin"] = b"no model"
    status, output, _ = ended(pull(f"{server.url}/m.bin"))
    assert status == 0
    assert output.endswith("cannot be served: no installed backend recognises it\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["ftp://host/m"], "ftp:// is not supported; expected an address: https://, hf://"),
        (["SERVER/m.gguf?secret"], "SERVER/m.gguf: no such file (404)"),
        (["SERVER/m.gguf", "--connections", "0"], "--connections: expected at least 1"),
        (["SERVER/m.gguf", "--name", ".."], "'..' is not a valid file name"),
        (["SERVER/m.gguf", "--sha256", "abc"], "a sha256 must have 64 hexadecimal digits"),
    ],
)
def test_errors_are_one_line(server, pull, models_dir, arguments, error):
    """The status is 1, and nothing is left."""
    status, output, errors = ended(pull(*(a.replace("SERVER", server.url) for a in arguments)))
    last = errors.splitlines()[-1]
    assert (status, output) == (1, "")
    assert last.startswith("pilotlight: ")
    assert error.replace("SERVER", server.url) in last
    assert "Traceback" not in errors
    assert not list(models_dir.glob("*"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_pull_is_resumed(server, pull, models_dir, number, status):
    """What was noted before is not asked for again; until the end nothing looks whole."""
    server.files["/m.gguf"] = DATA
    server.gate.clear()
    server.free = 3  # ranges of five
    process = pull(f"{server.url}/m.gguf")
    for _ in range(2):
        assert server.stands.acquire(timeout=30)
    state = models_dir / ".m.gguf.part" / "state.json"
    noted = b'"done":[['
    while noted not in state.read_bytes():
        assert process.poll() is None
    process.send_signal(number)
    code, _, errors = ended(process)
    assert code == status, errors
    assert "Traceback" not in errors
    assert [path.name for path in models_dir.glob("[!.]*")] == []
    server.gate.set()
    server.asked.clear()
    code, _, errors = ended(pull(f"{server.url}/m.gguf"))
    assert code == 0, errors
    assert (models_dir / "m.gguf").read_bytes() == DATA
    assert sum(last - first + 1 for first, last in server.spans()) <= 32 * MEGA
    assert sorted(path.name for path in models_dir.iterdir()) == [".m.gguf.origin", "m.gguf"]

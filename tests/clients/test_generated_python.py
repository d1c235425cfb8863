"""The client that openapi-python-client makes of our document, generated in this run.

The program is `generated_client.py`.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import DOCUMENT
from tests.clients.prepared import prepared
from tests.clients.programs import Program
from tests.clients.servers import FakeServer
from tests.conftest import LiveServer, chat

PROGRAM = Path(__file__).parent / "generated_client.py"
SCRIPTS = Path(sysconfig.get_path("scripts"))

WARNINGS = ["WARNING parsing GET /openapi.yaml within document."]
"""What the generator has to leave out: it knows JSON, text and bytes, and no YAML."""

MYPY = """
[mypy]
strict = true
[mypy-pilotlight_client.*]
# It casts the items of a list of anything to what they are (openapi-python-client 0.29).
disable_error_code = redundant-cast
"""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a program that imports the client in *folder*."""
    return os.environ | {"PYTHONPATH": str(folder), "MYPYPATH": str(folder), "NO_COLOR": "1"}


def run(folder: Path, *command: str | Path) -> str:
    """Run *command* with the generated client on its path; what it wrote is why it fails."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=environment(folder),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def generated() -> tuple[Path, str]:
    """Return the folder in which the client was generated, and what the generator said."""
    version = importlib.metadata.version("openapi-python-client")
    folder = prepared("python-client", [version.encode(), DOCUMENT.read_bytes()], generate)
    return folder, (folder / "said").read_text()


def generate(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text("post_hooks: []  # nobody reads its code, so it is not formatted\n")
    said = run(
        folder,
        SCRIPTS / "openapi-python-client",
        "generate",
        f"--path={DOCUMENT}",
        f"--output-path={folder / 'pilotlight_client'}",
        f"--config={config}",
        "--meta=none",
    )
    (folder / "said").write_text(said)


@pytest.fixture(scope="session")
def program(generated: tuple[Path, str]) -> Iterator[Program]:
    """Run the program with the client that was generated."""
    folder, _ = generated
    program = Program([sys.executable, PROGRAM], folder, environment(folder))
    yield program
    program.close()


def ask(program: Program, case: str, server: LiveServer | FakeServer, request: Any = None) -> Any:
    """Return what the program makes of *case*."""
    return program.ask(case, server.url, request or chat())


def test_the_generator_takes_the_whole_document(generated: tuple[Path, str]):
    """It warns of what is listed here, and removes no type."""
    folder, said = generated

    warnings = [line for line in said.splitlines() if "WARNING" in line or "Unable" in line]
    assert warnings == WARNINGS, said
    assert "removal" not in said
    assert (folder / "pilotlight_client/models/assistant_message.py").exists()


def test_mypy_holds_a_program_to_the_generated_types(generated: tuple[Path, str]):
    """The program and all of the client have the types that they say, strictly."""
    folder, _ = generated
    config = folder / "mypy.ini"
    config.write_text(MYPY)
    run(
        folder,
        sys.executable,
        "-m",
        "mypy",
        f"--config-file={config}",
        "--cache-dir=.mypy",
        PROGRAM,
    )


def test_mypy_sees_a_wrong_program(generated: tuple[Path, str]):
    """The types are no `Any`: a request without messages is refused before it is sent."""
    folder, _ = generated
    wrong = folder / "wrong.py"
    wrong.write_text(
        "from pilotlight_client.models.chat_completion_request import ChatCompletionRequest\n"
        'ChatCompletionRequest(model="spark")\n'
    )
    with pytest.raises(AssertionError, match='Missing positional argument "messages"'):
        run(folder, sys.executable, "-m", "mypy", "--cache-dir=.mypy", wrong)


def test_a_question_as_the_types_have_it(program: Program, spark: LiveServer):
    """Messages and parts, made as objects, are answered."""
    said = ask(program, "question", spark)

    assert "4" in said["content"]
    assert (said["object"], said["role"], said["index"]) == ("chat.completion", "assistant", 0)
    assert said["total"] > 0


def test_an_answer_and_its_stream(program: Program, troubled: FakeServer):
    """The pieces of a stream, typed as chunks, are the answer."""
    whole = ask(program, "answer", troubled)
    streamed = ask(program, "stream", troubled)

    assert (whole["status"], whole["content"], whole["reason"]) == (200, "Hello.", "stop")
    assert "".join(streamed["pieces"]) == "Hello."
    assert len(streamed["pieces"]) > 1


@pytest.mark.parametrize(
    ("model", "fields", "error"),
    [
        ("m", {"stop": ""}, {"status": 400, "code": "invalid_request_error", "param": "stop"}),
        ("nobody", {}, {"status": 404, "code": "model_not_found", "param": "model"}),
        ("broken", {}, {"status": 500, "code": "inference_error", "param": None}),
        ("bad", {}, {"status": 503, "code": "model_load_failed", "param": None}),
    ],
)
def test_an_error_is_typed(
    program: Program,
    troubled: FakeServer,
    *,
    model: str,
    fields: Any,
    error: Any,
):
    """Each documented status has the one body, with all its fields."""
    told = ask(program, "answer", troubled, chat(model) | fields)

    assert {key: told[key] for key in error} == error
    assert isinstance(told["message"], str)
    assert isinstance(told["type"], str)


def test_a_key_is_given_or_not(program: Program, closed: FakeServer):
    """The types leave it open; a server with keys has the last word, in a body of its own type."""
    told = ask(program, "known", closed)

    assert (told["with"]["status"], told["with"]["content"]) == (200, "Hello.")
    assert (told["without"]["status"], told["without"]["code"]) == (401, "invalid_api_key")


def test_a_full_queue(program: Program, full: FakeServer):
    """Too many requests are a 429."""
    told = ask(program, "answer", full)

    assert (told["status"], told["code"]) == (429, "queue_full")


def test_a_cold_model_is_waited_for(program: Program, cold: FakeServer):
    """A program that does what `Retry-After` says gets its answer."""
    said = ask(program, "patience", cold, chat("slow"))

    assert said["content"] == "Awake."
    assert said["statuses"][0] == 503
    assert said["statuses"] == cold.statuses


def test_a_cold_model_is_held_for(program: Program, cold: FakeServer):
    """One request is enough with `Prefer: wait`, which the types know."""
    assert ask(program, "held", cold, chat("slow"))["content"] == "Awake."
    assert cold.statuses == [200]


def test_models_and_health(program: Program, troubled: FakeServer):
    """The other endpoints, with parameters in path and query."""
    ask(program, "answer", troubled)
    models = ask(program, "models", troubled)
    health = ask(program, "health", troubled)

    assert models["first"] == models["same"]
    assert models["first"]["object"] == "model"
    assert models["nobody"] == "model_not_found"
    assert health == {"live": "ok", "ready": "ready"}

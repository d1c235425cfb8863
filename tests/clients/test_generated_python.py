"""The client that openapi-python-client makes of our document, generated in this run.

The program is `generated_client.py`.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import DOCUMENT
from tests.clients.prepared import prepared
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


def run(folder: Path, *command: str | Path) -> str:
    """Run *command* with the generated client on its path; what it wrote is why it fails."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "MYPYPATH": str(folder), "NO_COLOR": "1"},
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


def ask(
    generated: tuple[Path, str], case: str, server: LiveServer | FakeServer, request: Any = None
) -> Any:
    """Return what the program makes of *case*."""
    request = json.dumps(request or chat())
    return json.loads(run(generated[0], sys.executable, PROGRAM, case, server.url, request))


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


def test_a_question_as_the_types_have_it(generated: tuple[Path, str], spark: LiveServer):
    """Messages and parts, made as objects, are answered."""
    said = ask(generated, "question", spark)

    assert "4" in said["content"]
    assert (said["object"], said["role"], said["index"]) == ("chat.completion", "assistant", 0)
    assert said["total"] > 0


def test_an_answer_and_its_stream(generated: tuple[Path, str], troubled: FakeServer):
    """The pieces of a stream, typed as chunks, are the answer."""
    whole = ask(generated, "answer", troubled)
    streamed = ask(generated, "stream", troubled)

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
    generated: tuple[Path, str],
    troubled: FakeServer,
    *,
    model: str,
    fields: Any,
    error: Any,
):
    """Each documented status has the one body, with all its fields."""
    told = ask(generated, "answer", troubled, chat(model) | fields)

    assert {key: told[key] for key in error} == error
    assert isinstance(told["message"], str)
    assert isinstance(told["type"], str)


def test_a_key_is_given_or_not(generated: tuple[Path, str], closed: FakeServer):
    """The types leave it open; a server with keys has the last word, in a body of its own type."""
    told = ask(generated, "known", closed)

    assert (told["with"]["status"], told["with"]["content"]) == (200, "Hello.")
    assert (told["without"]["status"], told["without"]["code"]) == (401, "invalid_api_key")


def test_a_full_queue(generated: tuple[Path, str], full: FakeServer):
    """Too many requests are a 429."""
    told = ask(generated, "answer", full)

    assert (told["status"], told["code"]) == (429, "queue_full")


def test_a_cold_model_is_waited_for(generated: tuple[Path, str], cold: FakeServer):
    """A program that does what `Retry-After` says gets its answer."""
    said = ask(generated, "patience", cold, chat("slow"))

    assert said["content"] == "Awake."
    assert said["statuses"][0] == 503
    assert said["statuses"] == cold.statuses


def test_a_cold_model_is_held_for(generated: tuple[Path, str], cold: FakeServer):
    """One request is enough with `Prefer: wait`, which the types know."""
    assert ask(generated, "held", cold, chat("slow"))["content"] == "Awake."
    assert cold.statuses == [200]


def test_models_and_health(generated: tuple[Path, str], troubled: FakeServer):
    """The other endpoints, with parameters in path and query."""
    ask(generated, "answer", troubled)
    models = ask(generated, "models", troubled)
    health = ask(generated, "health", troubled)

    assert models["first"] == models["same"]
    assert models["first"]["object"] == "model"
    assert models["nobody"] == "model_not_found"
    assert health == {"live": "ok", "ready": "ready"}

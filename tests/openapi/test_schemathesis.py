"""Schemathesis against the live service: every check, every endpoint, every phase."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from pilotlight.config import Secret, Settings
from pilotlight.server.app import create_app
from tests.backends import random_bert
from tests.conftest import LiveServer, live

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "openapi/openapi.yaml"
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


KEY = "s3cret"
ONE_IN = 24
"""Of the coverage phase's 7,362 bodies; `make test-long` sends them all."""


@contextmanager
def serving(folder: Path, backend: str, **settings: Any) -> Iterator[LiveServer]:
    """Serve the embedded model of *backend*, an encoder and a cross-encoder, from *folder*."""
    models = folder / "models"
    models.mkdir()
    random_bert.write(models / "bert.gguf")
    random_bert.write(models / "cross.gguf", pooling=random_bert.RANK)
    given = Settings(
        backends=(backend,),
        models_dir=models,
        models_file=folder / "models.yaml",
        preload=("spark",),
        parallel=8,
        **settings,
    )
    with live(create_app(given)) as server:
        yield server


def schemathesis(
    server: LiveServer,
    document: Path,
    folder: Path,
    *flags: str,
    timeout: float | None = 300,
    one_in: int = ONE_IN,
) -> str:
    """Return what schemathesis says of *server*, which must be that it does what *document* says.

    One in *one_in* of the coverage phase's bodies is sent. The document is a file and no address:
    the endpoint it came from would be left out.
    """
    command = [
        SCHEMATHESIS,
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        document,
        f"--url={server.url}",
        "--checks=all",
        "--no-color",
        *flags,
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "PILOTLIGHT_TEST_ONE_IN": str(one_in),
    }

    run = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=folder,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}" in run.stdout, run.stdout
    return run.stdout


@pytest.mark.parametrize(
    ("backend", "flags"),
    [
        ("llama_cpp", ("--phases=examples,coverage,fuzzing,stateful", "--mode=all")),
        ("onnx", ("--phases=examples,fuzzing,stateful", "--mode=positive", "--max-examples=4")),
    ],
)
def test_the_service_does_what_its_document_says(
    backend: str, flags: tuple[str, ...], tmp_path: Path
):
    """No generated request, valid or not, is answered in a way that the document does not have.

    Each value of each field in turn, and what is not valid, is the same to every backend: one is
    enough for that. So are most of the cases, for generating them takes the time.
    """
    with serving(tmp_path, backend) as server:
        schemathesis(server, DOCUMENT, tmp_path, *flags)
        counted = httpx.get(f"{server.url}/metrics").text

    assert 'outcome="stop"' in counted
    if backend == "llama_cpp":
        # The encoder was really asked, and not merely refused.
        assert 'pilotlight_requests_total{model="bert",outcome="stop"}' in counted


WITH_KEY = f"--header=Authorization: Bearer {KEY}"
EACH_OPERATION = ("--phases=examples,fuzzing", "--max-examples=3", "--mode=all", WITH_KEY)
"""A few cases of each operation; values of each field in turn are tried without a key."""


def test_its_own_document_requires_a_key(tmp_path: Path):
    """Each operation is called with the right key, without one and with a wrong one.

    With the right key it does what it does without keys.
    """
    with serving(tmp_path, "llama_cpp", api_keys=Secret(KEY)) as server:
        schemathesis(server, own_document(server, tmp_path), tmp_path, *EACH_OPERATION)


def test_every_door_left_open_is_found(tmp_path: Path):
    """Against a server that asks for no key, the document of one that does is wrong throughout."""
    closed, open_door = tmp_path / "closed", tmp_path / "open"
    closed.mkdir()
    open_door.mkdir()
    with serving(closed, "llama_cpp", api_keys=Secret(KEY)) as server:
        path = own_document(server, tmp_path)
    with (
        serving(open_door, "llama_cpp") as server,
        pytest.raises(AssertionError) as caught,
    ):
        schemathesis(server, path, tmp_path, *EACH_OPERATION)

    operations = msgspec.json.decode(path.read_bytes())["paths"]
    guarded = {
        (method.upper(), where)
        for where, methods in operations.items()
        for method, operation in methods.items()
        # Without a stream that goes on, all that these answer is an error.
        if operation.get("security") != [] and where != "/v1/stream"
    }
    found = re.findall(
        r"^ *_+ ([A-Z]+) (/\S+) _+$\s+.*\s+- ST401 API accepts requests without authentication",
        str(caught.value),
        re.MULTILINE,
    )
    assert len(guarded) > 10
    assert set(found) == guarded


def own_document(server: LiveServer, folder: Path) -> Path:
    """Return a file with the document that *server* publishes."""
    path = folder / "own.json"
    path.write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    return path

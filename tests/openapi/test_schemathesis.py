"""Schemathesis against the live service: every check, every endpoint, every phase."""

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pilotlight.app import create_app
from pilotlight.config import Settings
from tests.backends import random_bert
from tests.conftest import LiveServer, live

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


@pytest.fixture(params=["llama_cpp", "onnx"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    """Serve the embedded model of each backend in turn, and an encoder to those who know it."""
    folder = tmp_path / "models"
    folder.mkdir()
    random_bert.write(folder / "bert.gguf")
    settings = Settings(
        backends=(request.param,),
        models_dir=folder,
        models_file=tmp_path / "models.yaml",
        preload=("spark",),
        parallel=8,
    )
    with live(create_app(settings)) as server:
        yield server


def test_the_service_does_what_its_document_says(served: LiveServer, tmp_path: Path):
    """No generated request, valid or not, is answered in a way that the document does not have."""
    command = [
        SCHEMATHESIS,
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        # The file and not the address: the endpoint it came from would be left out.
        HERE.parents[1] / "openapi/openapi.yaml",
        f"--url={served.url}",
        "--checks=all",
        "--phases=examples,coverage,fuzzing,stateful",
        "--mode=all",
        "--no-color",
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}

    run = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=tmp_path,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    paths = httpx.get(f"{served.url}/openapi.json").json()["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}" in run.stdout, run.stdout
    counted = httpx.get(f"{served.url}/metrics").text
    assert 'outcome="stop"' in counted
    if "llama_cpp" in served.app.state.service.registry.names:
        # The encoder was really asked, and not merely refused.
        assert 'pilotlight_requests_total{model="bert",outcome="stop"}' in counted

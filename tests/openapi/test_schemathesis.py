"""Schemathesis against the live service: every check, every endpoint, every phase."""

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


def test_the_service_does_what_its_document_says(spark: Any, tmp_path: Path):
    """No generated request, valid or not, is answered in a way that the document does not have."""
    command = [
        SCHEMATHESIS,
        f"--config-file={HERE / 'schemathesis.toml'}",
        "run",
        # The file and not the address: the endpoint it came from would be left out.
        HERE.parents[1] / "openapi/openapi.yaml",
        f"--url={spark.url}",
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
    paths = httpx.get(f"{spark.url}/openapi.json").json()["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}" in run.stdout, run.stdout

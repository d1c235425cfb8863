"""The page's modules: linted by Biome, type-checked by TypeScript, and tested in Node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.programs import missing
from tests.page.browser import PAGE, workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages, and the page as it is now."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    names = ("biome.json", "tsconfig.json", "driver.js", "unit.test.js")
    folder = workspace(tmp_path_factory.mktemp("modules"), *names)
    shutil.copytree(PAGE, folder / "page")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("node_modules/.bin/biome", "check", "page", "driver.js", "unit.test.js", "biome.json"),
        ("node_modules/.bin/tsc", "--project", "tsconfig.json"),
        ("node", "--test", "unit.test.js"),
    ],
    ids=lambda command: Path(command[0]).name,
)
def test_the_modules_pass(sources: Path, command: tuple[str, ...]):
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=sources,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr

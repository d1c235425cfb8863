"""Chromium, driven step by step: `node/driver.js` does what a test says."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.clients.prepared import prepared
from tests.clients.programs import missing

SOURCES = Path(__file__).parent / "node"
PAGE = Path(__file__).parents[2] / "service/pilotlight/api/endpoints/page"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_STUCK = 60.0
"""Seconds after which a step is given up; the driver itself waits up to 15."""


def chromium() -> str | None:
    """Return the path of Chromium, if this machine has it."""
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


def unavailable() -> str | None:
    """Return why no browser can be driven on this machine, or None if one can."""
    if chromium() is None:
        return f"there is no Chromium on this machine ({', '.join(_BROWSERS)})"
    return missing()


def packages() -> Path:
    """Return a folder with the packages of package-lock.json, installed once."""
    made_of = [(SOURCES / name).read_bytes() for name in ("package.json", "package-lock.json")]
    return prepared("page", made_of, _install)


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(SOURCES / name, folder)
    subprocess.run(["npm", "ci", "--no-progress"], check=True, cwd=folder, timeout=300)  # noqa: S607 - whichever is on the path


def workspace(folder: Path, *names: str) -> Path:
    """Return *folder*, with the sources *names* and the packages that they import.

    It is each worker's own: the folder of the packages is shared.
    """
    (folder / "node_modules").symlink_to(packages() / "node_modules")
    for name in names:
        shutil.copy(SOURCES / name, folder)
    return folder


class Browser:
    """A window of Chromium. A step that fails raises `AssertionError` with what it waited for."""

    def __init__(self, folder: Path) -> None:
        """Start Chromium, with the driver in *folder*."""
        program = workspace(folder, "driver.js") / "driver.js"
        self._process = subprocess.Popen(
            ["node", program, str(chromium())],  # noqa: S607 - whichever is on the path
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
        )

    def __getattr__(self, verb: str) -> Any:
        """Return the step *verb* of the driver."""
        return lambda *arguments, **options: self._do(
            verb, *arguments, *([options] * bool(options))
        )

    def _do(self, *step: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        stuck = threading.Timer(_STUCK, self._process.kill)
        stuck.start()
        try:
            self._process.stdin.write(json.dumps(step) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            stuck.cancel()
        assert line, f"{step}: the driver has ended"
        outcome = json.loads(line)
        assert "thrown" not in outcome, outcome["thrown"]
        return outcome["value"]

    def close(self) -> None:
        """Close the browser."""
        try:
            self._process.communicate(timeout=10)  # closes its input, at which it ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

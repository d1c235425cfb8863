"""An environment for each client: a venv by uv, or a folder by npm, and a home of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.table.catalog import Client

NPM = ("npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "--no-package-lock")
INSTALLED = ".installed"


def install(client: Client, folder: Path, uv: str) -> None:
    """Install the packages of *client* into *folder*, unless they are there."""
    wanted = "\n".join(client.packages)
    mark = folder / INSTALLED
    if mark.is_file() and mark.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if client.on_npm:
        (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
        _run([*NPM, *client.packages], folder)
    else:
        _run([uv, "venv", "--quiet", "--python", sys.executable, "venv"], folder)
        python = folder / "venv/bin/python"
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *client.packages], folder)
    mark.write_text(wanted)


def binaries(client: Client, folder: Path) -> Path:
    """Return the folder of the commands that the packages brought."""
    return folder / ("node_modules/.bin" if client.on_npm else "venv/bin")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

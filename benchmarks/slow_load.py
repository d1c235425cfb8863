"""Request a model whose load takes long, with OpenAI's clients and their default settings.

python -m benchmarks.slow_load --seconds 90 --node FOLDER

The server is real, and its model is the fake backend's, whose load takes exactly that long.
FOLDER is where `npm install openai` was run. Each client has a server of its own, and both start
at the same time.
"""

import argparse
import logging
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import uvicorn

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel

_NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none" });
const answer = await client.chat.completions.create({
  model: "slow", messages: [{ role: "user", content: "Hi" }] });
console.log(answer.choices[0].message.content);
"""


def serve(folder: Path) -> str:
    """Serve the models in *folder* on a thread; return the API's base address."""
    settings = Settings(models_dir=folder, cache_dir=folder / "cache")
    app = create_app(settings, backends={"fake": FakeBackend()})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def python(url: str) -> str:
    """Send the request with the Python client."""
    client = openai.OpenAI(base_url=url, api_key="none")
    answer = client.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": "Hi"}]
    )
    return answer.choices[0].message.content or ""


def node(folder: Path) -> Callable[[str], str]:
    """Return a function that sends it with the Node client that is installed in *folder*."""

    def ask(url: str) -> str:
        script = folder / "slow_load.mjs"
        script.write_text(_NODE, encoding="utf-8")
        return subprocess.run(  # noqa: S603
            ["node", str(script), url],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    return ask


def main() -> None:
    """Parse the command line, send the requests, and print when each client got its response."""
    parser = argparse.ArgumentParser(description="Ask for a model whose load takes long.")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--node", type=Path, help="folder in which npm has installed openai")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    clients = {"python": python}
    if arguments.node:
        clients["node"] = node(arguments.node.resolve())

    def ask(name: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            slow = FakeModel(
                reply="Here I am.", load_seconds=arguments.seconds, load_steps=90
            ).write(Path(folder) / "slow.fake")
            url = serve(slow.parent)
            began = time.perf_counter()
            answer = clients[name](url)
            return f"{name:<7} {time.perf_counter() - began:6.1f} s  {answer!r}\n"

    with ThreadPoolExecutor(len(clients)) as asking:
        for line in asking.map(ask, clients):
            sys.stdout.write(line)


if __name__ == "__main__":
    main()

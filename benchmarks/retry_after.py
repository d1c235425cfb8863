"""Measure how accurate Retry-After is, with loads that are throttled to different speeds.

python -m benchmarks.retry_after model.gguf --loads 20

Each load is a real one of llama.cpp whose reads are slowed to a random speed. A client sends a
request at a random time, gets a Retry-After, waits exactly that long, and sends it again; neither
request is held. The wait that it needed follows from when the model was ready. Where that was less
than one second, the smallest Retry-After, one second is not counted as too long.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from litestar import Litestar

from pilotlight.config import Settings
from pilotlight.models.loading.progress import LEAST
from pilotlight.server.app import create_app
from pilotlight_backend import Engine, LoadOptions, LoadProgress, ModelFacts
from pilotlight_llama_cpp.backend import LlamaCppBackend

_SLOWEST, _FASTEST = 25e6, 400e6


class ThrottledBackend(LlamaCppBackend):
    """llama.cpp whose files come from a slow disk: *rate* bytes a second."""

    rate = _FASTEST

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> Engine:
        """Load, and read at *rate* bytes a second."""
        began = time.monotonic()

        def slowed(report: LoadProgress) -> None:
            if report.phase == "read":
                due = began + report.bytes_read / self.rate
                time.sleep(max(due - time.monotonic(), 0.0))
            progress(report)

        return super().load(facts, options, slowed)


async def one_load(
    backend: ThrottledBackend, app: Litestar, model: str, size: int, draw: random.Random
) -> tuple[float, float, float, bool]:
    """Return the rate, the Retry-After, the needed wait, and whether the next request succeeded."""
    backend.rate = _SLOWEST * (_FASTEST / _SLOWEST) ** draw.random()
    ask = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    at_once = {"Prefer": "wait=0"}
    transport = httpx.ASGITransport(app)
    pool = app.state.service.pool
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://x", timeout=600) as client,
    ):
        chat = "/v1/chat/completions"
        await client.post(chat, json=ask, headers=at_once)  # starts the load
        await asyncio.sleep(draw.uniform(0.05, 0.8) * size / backend.rate)
        refused = await client.post(chat, json=ask, headers=at_once)
        told = float(refused.headers["retry-after-ms"]) / 1000
        asked = time.monotonic()
        (entry,) = pool.loaded
        ready_at: list[float] = []

        async def watch() -> None:
            while pool.status(entry).state != "ready":  # noqa: ASYNC110 - as a client would see it
                await asyncio.sleep(0.005)
            ready_at.append(time.monotonic())

        watching = asyncio.create_task(watch())
        await asyncio.sleep(told)
        answered = await client.post(chat, json=ask, headers=at_once)
        await watching
        return backend.rate, told, ready_at[0] - asked, answered.status_code == httpx.codes.OK


async def main() -> None:
    """Parse the command line, and print each load and the summary."""
    parser = argparse.ArgumentParser(description="Measure how true Retry-After is.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--loads", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.getLogger("pilotlight").setLevel(logging.ERROR)
    draw = random.Random(arguments.seed)  # noqa: S311 - chosen for being repeatable
    size = arguments.model.stat().st_size
    succeeded = within = 0
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(arguments.loads):
            backend = ThrottledBackend()
            settings = Settings(models_dir=arguments.model.parent, cache_dir=Path(cache))
            app = create_app(settings, backends={"llama_cpp": backend})
            rate, told, needed, success = await one_load(
                backend, app, arguments.model.stem, size, draw
            )
            fits = told <= max(1.5 * needed, LEAST)
            succeeded += success
            within += success and fits
            sys.stdout.write(
                f"{rate / 1e6:6.0f} MB/s  told {told:5.2f} s  needed {needed:5.2f} s"
                f"  told/needed {told / max(needed, 1e-3):4.2f}"
                f"  {'answered' if success else 'refused again'}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(
        f"answered at the next try {succeeded} of {arguments.loads},"
        f" of these told at most 1.5 times what was needed {within}\n"
    )


if __name__ == "__main__":
    asyncio.run(main())

"""Send a server every kind of request for a long time, and check the responses and its resources.

    python -m benchmarks.soak --minutes 20

`pilotlight serve` runs as a process, with two models that generate and one that embeds, a memory
budget for two of the three, and an `idle_ttl` of two seconds. The two that are requested change
every few seconds, so models are unloaded and loaded all the time. Many clients send requests of
every kind, send invalid ones, disconnect at every possible point, and read and write slowly. Greedy
responses are compared with those of each model without load at the start. A 429 or 503 is accepted
if it has a Retry-After; every other error is a failure.

Once a minute the server's resources are measured twice: under load, and at rest, when no client is
connected and every model is unloaded. The warm-up is the first fifth of the time and at least a
minute; the measurement at rest that ends it is the baseline. The last one may be 5 % above it.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import uvloop

import pilotlight_llama_cpp
import pilotlight_onnx
from benchmarks.raw_http import exchange
from benchmarks.server_process import ServerProcess, serving
from benchmarks.soak_clients import EMBEDDER, WRITERS, Plan, Soak
from benchmarks.soak_looks import HEADINGS, IDLE_TTL, REST_SECONDS, Look, at_rest, grown, look, tell
from benchmarks.soak_requests import LARGEST, Question, Story, faults, questions, story
from pilotlight.models.eviction import memory_need
from pilotlight_backend import LoadOptions
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends import random_bert

_OK = 200
_HOLD = 0.1
"""Seconds that a request is held for a loading model: some get the 503 after it."""
_MINUTE = 60.0


def write_models(folder: Path, backend: str) -> int:
    """Write models and models.yaml into *folder*; return a memory budget for two of them."""
    options = {"first": LoadOptions(parallel=4), "second": LoadOptions(parallel=2)}
    if backend == "llama_cpp":
        spark = Path(pilotlight_llama_cpp.__file__).parent / "spark.gguf"
        path = Path(shutil.copy(spark, folder / "spark.gguf"))
        facts = LlamaCppBackend().probe(path)
    else:
        spark = Path(pilotlight_onnx.__file__).parent / "spark"
        path = Path(shutil.copytree(spark, folder / "spark"))
        facts = OnnxBackend().probe(path)
    bert = random_bert.write(folder / "bert.gguf")
    embeds = LlamaCppBackend().probe(bert)
    assert facts  # noqa: S101 - the model is our own
    assert embeds  # noqa: S101 - just written
    lines = [
        f"{name}: {{path: {path.name}, parallel: {one.parallel}}}" for name, one in options.items()
    ]
    (folder / "models.yaml").write_text("\n".join([*lines, f"{EMBEDDER}: bert.gguf"]))
    needs = [memory_need(facts, one) for one in options.values()]
    return sum(needs) + memory_need(embeds, LoadOptions()) - 1


async def learn(port: int, asked: Sequence[Question]) -> dict[tuple[str, str], Story]:
    """Return the response of each model to each question without other requests."""
    expected = {}
    for model in (*WRITERS, EMBEDDER):
        for question in asked:
            if question.embeds == (model == EMBEDDER):
                answer = await exchange(port, question.request(model, wait=True))
                if answer.status != _OK:
                    raise RuntimeError(f"{question.name} of {model}: {answer.body!r}")
                expected[model, question.name] = story(answer, streamed=question.streamed)
    return expected


async def soak(server: ServerProcess, minutes: float, clients: int, seed: int) -> list[str]:
    """Run the clients against *server*, print the results, and return the failures."""
    asked = questions()
    plan = Plan(asked, faults(), await learn(server.port, asked))
    soaking = Soak(server.port, plan, seed)
    began = time.monotonic()
    warm_up = max(minutes / 5, 1.0)
    level: Look | None = None
    sys.stdout.write(HEADINGS)
    last = await at_rest(server, began)
    tell("rest", last)
    while (now := time.monotonic() - began) < minutes * _MINUTE:
        throwing = asyncio.create_task(
            soaking.throw(clients, min(_MINUTE, minutes * _MINUTE - now))
        )
        await asyncio.wait((throwing,), timeout=min(_MINUTE, minutes * _MINUTE - now) * 0.9)
        tell("load", await look(server, began))
        await throwing
        try:
            last = await at_rest(server, began)
        except TimeoutError:
            soaking.wrong.append(f"no rest {REST_SECONDS:.0f} s after the last client had gone")
            break
        tell("rest", last)
        if level is None and last.minute >= warm_up:
            level = last
    _print_outcomes(soaking.outcomes)
    if level is None:
        return [*soaking.wrong, "too short to tell what stays behind"]
    return [*soaking.wrong, *grown(level, last)]


def _print_outcomes(outcomes: Mapping[tuple[str, str], int]) -> None:
    sys.stdout.write("\nwhat was sent, how often, and its outcomes\n")
    for sent in sorted({name for name, _ in outcomes}):
        came = {outcome: count for (name, outcome), count in outcomes.items() if name == sent}
        told = "  ".join(f"{outcome} {count}" for outcome, count in sorted(came.items()))
        sys.stdout.write(f"{sent:40} {sum(came.values()):6}  {told}\n")


def complaints(log: Path) -> Iterator[str]:
    """Yield what the server logged as an error: nothing that a client sends is one."""
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            yield f"the log: {line}"
        else:
            if record["severity"] in {"ERROR", "CRITICAL"}:
                yield f"the log: {line}"


def main() -> None:
    """Parse the command line, run the soak, and exit with 1 after a failure."""
    parser = argparse.ArgumentParser(description="Throw everything at a server for a long time.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--backend", choices=("llama_cpp", "onnx"), default="llama_cpp")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = {
            "--models-file": folder / "models.yaml",
            "--models-dir": folder / "none",
            "--cache-dir": folder / "cache",
            "--memory-budget": write_models(folder, arguments.backend),
            "--idle-ttl": IDLE_TTL,
            "--hold": _HOLD,
            "--max-queue": 12,
            "--max-request-bytes": LARGEST,
            "--log-format": "json",
        }
        with (
            serving(flags, folder / "log") as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            amiss = runner.run(soak(server, arguments.minutes, arguments.clients, arguments.seed))
        amiss += complaints(folder / "log")
    for one in dict.fromkeys(amiss):
        sys.stdout.write(f"{amiss.count(one)} times: {one[:1000]}\n")
    sys.exit(bool(amiss))


if __name__ == "__main__":
    main()

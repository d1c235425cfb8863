"""Compare scores with llama-server's on the same files, of documents alone and together.

python -m benchmarks.rerank --llama-server PATH [MODEL.gguf ...]

Each model is scored by both without flash attention, and by both with it. Without a model three
small ones with random weights are written: a cross-encoder and two decoders.
"""

import argparse
import math
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from msgspec import Struct

from benchmarks import random_gguf
from benchmarks.listening import free_port, listening
from tests.backends import random_bert

_PILOTLIGHT = str(Path(sysconfig.get_path("scripts")) / "pilotlight")
_CONTEXT = 2048
_READY = 60.0
QUERY = "what is the cat?"
JUDGED = {
    "the cat sat on the mat": 2, "a dog ran home": 0, "": 0, "hello " * 25: 0, "x1, y2!": 0,
    " the cat": 2, "ü\n\n🦙": 0, "what is the cat? the cat is home": 3, "mat mat mat": 0,
    "7 dogs {query}": 0,
}  # fmt: skip
"""Documents, and how relevant each is."""


class Scores(Struct, frozen=True):
    """The scores of all documents: of one request, and of a request for each."""

    together: list[float]
    alone: list[float]


def order(scores: Sequence[float]) -> list[int]:
    """Return the documents' numbers, the most relevant one first."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def ndcg(scores: Sequence[float]) -> float:
    """Return the normalized discounted cumulative gain of the ranking by *scores*."""
    judged = list(JUDGED.values())

    def gain(numbers: Sequence[int]) -> float:
        gains = (2 ** judged[one] - 1 for one in numbers)
        return sum(one / math.log2(place) for place, one in enumerate(gains, 2))

    return gain(order(scores)) / gain(order(judged))


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest difference between two scores of a document."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def scored(client: httpx.Client, model: str) -> Scores:
    """Return the scores of the server that *client* asks."""

    def ask(documents: Sequence[str]) -> list[float]:
        body = {"model": model, "query": QUERY, "documents": documents}
        answer: Any = client.post("/v1/rerank", json=body).raise_for_status().json()
        found = {one["index"]: one["relevance_score"] for one in answer["results"]}
        return [found[index] for index in range(len(documents))]

    documents = list(JUDGED)
    together = ask(documents)
    alone = [ask([one])[0] for one in documents]
    return Scores(together, alone)


@contextmanager
def serving(command: list[str], port: int, path: str) -> Iterator[httpx.Client]:
    """Run a server until the block ends; it is ready when *path* has status 200."""
    with (
        listening(command, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_READY) as client,
    ):
        deadline = time.monotonic() + _READY
        while client.get(path).status_code != httpx.codes.OK:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready: {command!r}")
            time.sleep(0.05)
        yield client


def compared(model: Path, program: Path, attention: str) -> tuple[Scores, Scores]:
    """Return our scores and llama-server's, both with flash *attention* `on` or `off`."""
    ports = free_port(), free_port()
    ours = [
        _PILOTLIGHT, "serve", "--port", str(ports[0]), "--models-dir", str(model.parent),
        "--preload", model.stem, "--context-length", str(_CONTEXT), "--flash-attention", attention,
    ]  # fmt: skip
    theirs = [
        str(program), "-m", str(model), "--port", str(ports[1]), "--reranking",
        "-c", str(_CONTEXT), "-fa", attention,
    ]  # fmt: skip
    with ExitStack() as stack:
        own = stack.enter_context(serving(ours, ports[0], "/readyz"))
        peer = stack.enter_context(serving(theirs, ports[1], "/health"))
        return scored(own, model.stem), scored(peer, model.stem)


def written(folder: Path) -> list[Path]:
    """Write models with random weights into *folder*."""
    small = replace(random_gguf.TINY, weights="Q8_0", pooling=random_gguf.RANK)
    wide = replace(
        small, layers=4, hidden=256, heads=8, kv_heads=4, feed_forward=512, vocabulary=2048,
        context_length=_CONTEXT,
    )  # fmt: skip
    models = [folder / f"{name}.gguf" for name in ("encoder", "decoder", "wide")]
    random_bert.write(models[0], pooling=random_bert.RANK, seed=5)
    random_gguf.write(models[1], small, seed=6)
    random_gguf.write(models[2], wide, seed=7)
    return models


def main() -> None:
    """Parse the command line, and print a line for each model and kind of attention."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        for model, attention in product(arguments.models or written(Path(folder)), ("off", "on")):
            ours, theirs = compared(model, arguments.llama_server, attention)
            print(  # noqa: T201 - what it is for
                f"{model.stem:12} flash {attention:3}"
                f"  alone {difference(ours.alone, theirs.alone):.1e}"
                f"  together {difference(ours.together, theirs.together):.1e}"
                f"  by the batch: ours {difference(ours.alone, ours.together):.1e}"
                f" theirs {difference(theirs.alone, theirs.together):.1e}"
                f"  order {'equal' if order(ours.alone) == order(theirs.alone) else 'differs'}"
                f"  NDCG {ndcg(ours.alone):.4f} {ndcg(theirs.alone):.4f}"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()

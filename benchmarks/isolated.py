"""Measure what a process of its own costs a model: its load, its tokens, its memory.

python -m benchmarks.isolated model.gguf --rounds 5

Loads in turn here and in a process of its own. The first load here also imports the backend, as a
server's first load does; in a process of its own every load does. Streams are greedy and of a
length, one alone and four together; a guided one asks a guide that allows everything.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend import Backend, Engine, Guide, LoadOptions
from pilotlight_backend.logits import Logits
from pilotlight_backend.testing.conformance.listener import request_of, submit
from pilotlight_isolation.backend import IsolatedBackend
from pilotlight_llama_cpp.backend import LlamaCppBackend

_TOKENS = 200


class Anything:
    """A guide that allows everything: the calls to it are measured."""

    def restrict(self, logits: Logits) -> None:
        """Refuse nothing."""

    def accept(self, token: int) -> None:
        """Keep nothing."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    own = LlamaCppBackend()
    path = given.model or own.embedded()
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(given.rounds):
        for name, backend in (("here", own), ("process", IsolatedBackend(own))):
            for what, figure in _measure(backend, path, given.threads).items():
                rows.setdefault(what, {}).setdefault(name, []).append(figure)
    for what, figures in rows.items():
        here, apart = (_told(figures[name]) for name in ("here", "process"))
        print(f"{what:<28} here {here}   process {apart}")  # noqa: T201


def _told(figures: Sequence[float]) -> str:
    return f"{statistics.median(figures):8.3f} (first {figures[0]:.3f})"


def _measure(backend: Backend, path: Path, threads: int) -> dict[str, float]:
    facts = backend.probe(path)
    if facts is None:
        raise SystemExit(f"{path}: no model of llama.cpp")
    began = time.perf_counter()
    engine = backend.load(facts, LoadOptions(threads=threads), lambda _: None)
    loaded = time.perf_counter() - began
    assert isinstance(engine, Engine)  # noqa: S101 - what was asked for
    figures = {"seconds of a load": loaded}
    prompt = engine.tokenize("What is 2+2?", special=False)
    _speed(engine, prompt, 1, lambda: None)
    for count in (1, 4):
        figures[f"tokens/s, {count} streams"] = _speed(engine, prompt, count, lambda: None)
    figures["seconds of a first guide"] = _TOKENS / _speed(engine, prompt, 1, Anything)
    figures["tokens/s, 1 guided stream"] = _speed(engine, prompt, 1, Anything)
    figures["ms of a short tokenize"] = _tokenize(engine)
    engine.close()
    return figures


def _speed(
    engine: Engine, prompt: list[int], count: int, guide: Callable[[], Guide | None]
) -> float:
    request = request_of(prompt, _TOKENS)
    began = time.perf_counter()
    asked = [submit(engine, replace(request, guide=guide())) for _ in range(count)]
    for one in asked:
        one.listener.finish()
    return count * _TOKENS / (time.perf_counter() - began)


def _tokenize(engine: Engine, times: int = 200) -> float:
    began = time.perf_counter()
    for _ in range(times):
        engine.tokenize("What is 2+2?", special=True)
    return (time.perf_counter() - began) / times * 1000


if __name__ == "__main__":
    main()

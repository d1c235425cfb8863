"""Compare the engine with a bare loop over llama.cpp: what continuous batching in Python costs.

    python -m benchmarks.decode model.gguf --streams 1 4 8 --tokens 48 --rounds 3

Both decode the same prompts with the same samplers, context and threads, in turns. On a busy
machine the figures move, and the ratio of two rounds that follow each other moves least.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pilotlight_backend import (
    Engine,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    ModelFileInvalid,
    SamplingParams,
)
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.native import library

SAMPLING = SamplingParams(temperature=1.0, top_p=0.95, top_k=64, seed=7)
CONTEXT_LENGTH = 1024
CHUNK = 512


class BareLoop:
    """The least that decodes several sequences with llama.cpp: no queue, no events, no errors."""

    def __init__(self, path: Path, *, streams: int, threads: int) -> None:
        self.streams = streams
        self._lib = lib = library()
        self._model = lib.llama_model_load_from_file(
            str(path).encode(), lib.llama_model_default_params()
        )
        if not self._model:
            raise ModelFileInvalid(path, "llama.cpp cannot load it")
        params = lib.llama_context_default_params()
        params.n_ctx = CONTEXT_LENGTH * streams
        params.n_seq_max = streams
        params.n_batch = params.n_ubatch = CHUNK + streams
        params.n_outputs_max = streams
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.kv_unified = False
        self._context = lib.llama_init_from_model(self._model, params)
        self._batch = lib.llama_batch_init(CHUNK + streams, 0, 1)

    def generate(self, prompts: list[tuple[int, ...]], tokens: int) -> float:
        """Answer each prompt with *tokens* tokens; return seconds."""
        lib = self._lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)  # noqa: FBT003
        samplers = [self._sampler() for _ in prompts]
        start = time.perf_counter()
        runs: list[tuple[int, tuple[int, ...]]] = [(0, prompt) for prompt in prompts]
        for _ in range(tokens):
            rows = self._decode(runs)
            runs = [
                (position + len(run), (lib.llama_sampler_sample(sampler, self._context, row),))
                for (position, run), sampler, row in zip(runs, samplers, rows, strict=True)
            ]
        seconds = time.perf_counter() - start
        for sampler in samplers:
            lib.llama_sampler_free(sampler)
        return seconds

    def _decode(self, runs: list[tuple[int, tuple[int, ...]]]) -> list[int]:
        batch, row, ends = self._batch, 0, []
        for stream, (position, run) in enumerate(runs):
            for index, token in enumerate(run):
                batch.token[row] = token
                batch.pos[row] = position + index
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = stream
                batch.logits[row] = index == len(run) - 1
                row += 1
            ends.append(row - 1)
        batch.n_tokens = row
        if self._lib.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp could not decode")
        return ends

    def _sampler(self) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(SAMPLING.top_k))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(SAMPLING.top_p, 1))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(SAMPLING.seed))
        return chain

    def close(self) -> None:
        """Free everything."""
        lib = self._lib
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)


def engine_seconds(
    engine: Engine,
    prompts: list[tuple[int, ...]],
    tokens: int,
    sampling: SamplingParams = SAMPLING,
) -> float:
    """Answer each prompt through the engine; return seconds."""
    ended: SimpleQueue[EngineEvent] = SimpleQueue()

    def hear(event: EngineEvent) -> None:
        if isinstance(event, Finish | Failed):
            ended.put(event)

    start = time.perf_counter()
    for prompt in prompts:
        request = GenerateRequest(
            prompt=prompt, max_tokens=tokens, sampling=sampling, ignore_eos=True
        )
        engine.submit(request, hear)
    for _ in prompts:
        if isinstance(last := ended.get(), Failed):
            raise last.error
    return time.perf_counter() - start


def load_engine(path: Path, *, streams: int, threads: int) -> Engine:
    """Load *path* as the service would."""
    backend = LlamaCppBackend()
    facts = backend.probe(path)
    if facts is None:
        raise ModelFileInvalid(path, "this is no GGUF model")
    options = LoadOptions(
        parallel=streams, context_length=CONTEXT_LENGTH, threads=threads, chunk=CHUNK
    )
    return backend.load(facts, options, lambda _progress: None)


def compare(path: Path, *, streams: int, threads: int, tokens: int, rounds: int) -> None:
    """Print both rates, tokens a second over all streams, and the median of their ratios."""
    bare = BareLoop(path, streams=streams, threads=threads)
    engine = load_engine(path, streams=streams, threads=threads)
    ways: list[Callable[[list[tuple[int, ...]]], float]] = [
        lambda prompts: bare.generate(prompts, tokens),
        lambda prompts: engine_seconds(engine, prompts, tokens),
    ]
    seconds: list[list[float]] = [[], []]
    for turn in range(rounds + 1):  # the first is for warmth and is not counted
        # New prompts each time: the engine would not evaluate again what it still holds.
        prompts = [tuple(range(turn + 16 * n, turn + 16 * n + 16)) for n in range(streams)]
        for way, taken in zip(ways, seconds, strict=True):
            taken.append(way(prompts))
    engine.close()
    bare.close()
    rates = [streams * tokens / statistics.median(taken[1:]) for taken in seconds]
    ratio = statistics.median(b / e for b, e in zip(seconds[0][1:], seconds[1][1:], strict=True))
    print(  # noqa: T201
        f"streams {streams}  bare {rates[0]:8.1f} t/s  engine {rates[1]:8.1f} t/s"
        f"  engine/bare {ratio:.3f}"
    )


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description="Compare the engine with a bare loop.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for streams in arguments.streams:
        compare(
            arguments.path,
            streams=streams,
            threads=arguments.threads,
            tokens=arguments.tokens,
            rounds=arguments.rounds,
        )


if __name__ == "__main__":
    main()

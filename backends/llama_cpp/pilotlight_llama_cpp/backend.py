"""The backend: what the service calls to find out about a model and to load it."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec.structs import replace

from pilotlight_backend import (
    Engine,
    InsufficientMemory,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    ModelFileInvalid,
)
from pilotlight_llama_cpp import cgroup, probe, threads
from pilotlight_llama_cpp.readahead import read_ahead

logger = logging.getLogger("pilotlight.llama_cpp")

DEFAULT_CONTEXT_LENGTH = 4096
Phase: TypeAlias = Literal["load", "warm"]
_EMBEDDED = Path(__file__).with_name("spark.gguf")


class LlamaCppBackend:
    """GGUF models through llama.cpp."""

    name = "llama_cpp"

    def probe(self, path: Path) -> ModelFacts | None:
        """Return the facts of a GGUF model, from its header."""
        return probe.probe(path)

    def embedded(self) -> Path | None:
        """Return `spark.gguf`, where it was built in."""
        return _EMBEDDED if _EMBEDDED.is_file() else None

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> Engine:
        """Load a model: read its files, map them, evaluate one token."""
        facts = replace(facts, context_length=_context_length(facts, options))
        _check_memory(facts, options)
        total = facts.size_bytes
        try:
            read_ahead(
                probe.parts(facts.path), lambda count: progress(LoadProgress("read", count, total))
            )
        except OSError as error:
            raise ModelFileInvalid(facts.path, f"it cannot be read: {error.strerror}") from error
        return _start(facts, options, lambda phase: progress(LoadProgress(phase, total, total)))


def _context_length(facts: ModelFacts, options: LoadOptions) -> int:
    if options.context_length is None:
        return min(facts.context_length, DEFAULT_CONTEXT_LENGTH)
    if options.context_length > facts.context_length:
        logger.warning(
            "%s was trained with a context of %d tokens, %d were asked for",
            facts.path.name,
            facts.context_length,
            options.context_length,
        )
    return options.context_length


def _check_memory(facts: ModelFacts, options: LoadOptions) -> None:
    """Raise where weights and KV cache cannot fit: the kernel would end the whole process."""
    available = cgroup.available_memory()
    if available is None or options.gpu_layers:
        return
    cells = facts.context_length * options.parallel
    required = facts.size_bytes + facts.kv_bytes_per_token * cells
    if required > available:
        raise InsufficientMemory(required, available)


def _start(facts: ModelFacts, options: LoadOptions, report: Callable[[Phase], None]) -> Engine:
    """Make model, context and engine, or nothing at all."""
    # Here for the first time a native library is imported.
    from pilotlight_llama_cpp.context import Context  # noqa: PLC0415
    from pilotlight_llama_cpp.engine import LlamaCppEngine  # noqa: PLC0415
    from pilotlight_llama_cpp.model import Model  # noqa: PLC0415

    report("load")
    model = Model(facts.path, gpu_layers=options.gpu_layers, proceed=lambda: report("load"))
    try:
        context = Context(
            model,
            slots=options.parallel,
            context_length=facts.context_length,
            chunk=options.chunk,
            threads=options.threads or threads.choose(facts.size_bytes),
        )
    except BaseException:
        model.close()
        raise
    try:
        report("warm")
        _on_a_thread_of_its_own(context.warm)
    except BaseException:
        context.close()
        raise
    return LlamaCppEngine(facts, model, context, slots=options.parallel, chunk=options.chunk)


def _on_a_thread_of_its_own(work: Callable[[], None]) -> None:
    """Run *work* on a thread that ends with it.

    OpenMP keeps a pool of threads for each thread that ever computed. With more threads in pools
    than there are CPUs, libgomp waits at barriers by sleeping instead of spinning (libgomp/wait.h,
    gomp_throttled_spin_count), and decoding was a third slower. A thread that ends takes its pool
    with it, so that the engine's own is the only one.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(work).result()

"""The backend: probes and loads GGUF models."""

import logging
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pilotlight_backend import (
    AdapterFacts,
    BaseEngine,
    LoadFailed,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    ModelFileInvalid,
    ModelUnsupported,
    attention,
)
from pilotlight_backend.capacity import check_memory, context_length, draft_slots, in_force
from pilotlight_backend.cgroup import granted_cpus
from pilotlight_backend.readahead import read_ahead
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp import lora_file, probe
from pilotlight_llama_cpp.background import in_background
from pilotlight_llama_cpp.draft_file import draft_facts
from pilotlight_llama_cpp.guarded_thread import Aborted, GuardedThread
from pilotlight_llama_cpp.phases import Phase, Report
from pilotlight_llama_cpp.projector_file import (
    with_projector,
    with_what_is_beside,
)
from pilotlight_llama_cpp.servable import is_known

if TYPE_CHECKING:  # a probe must not import the native library
    from pilotlight_backend.prompt_cache.recent import RecentLengths
    from pilotlight_llama_cpp.model import LlamaModel

logger = logging.getLogger("pilotlight.llama_cpp")

_EMBEDDED = Path(__file__).with_name("spark.gguf")
_SMALL_MODEL = 50_000_000


class LlamaCppBackend:
    """Runs GGUF models with llama.cpp."""

    name = "llama_cpp"

    def __init__(self) -> None:
        self._given_up: dict[Path, tuple[ModelFacts, str]] = {}
        """Models whose load llama.cpp aborted, with the reason. Each abort leaves a thread and its
        memory behind, so they are not loaded again unless their facts change."""

    def probe(self, path: Path) -> ModelFacts | None:
        """Return the facts of a GGUF model, from its header and that of its projector."""
        facts = probe.probe(path)
        return None if facts is None else with_what_is_beside(facts)

    def probe_projector(self, path: Path, model: ModelFacts) -> ModelFacts:
        """Return the facts of *model* with the projector at *path*, from its header."""
        if not model.generates:
            raise ModelUnsupported(path, "a model that embeds or ranks takes no images")
        return with_projector(model, path)

    def knows_architecture(self, architecture: str) -> bool:
        """Return whether llama.cpp supports *architecture*, as far as its library tells."""
        return is_known(architecture)

    def probe_adapter(self, path: Path, model: ModelFacts) -> AdapterFacts:
        """Return the facts of a LoRA adapter for *model*, from its header and the model's."""
        return lora_file.check(path, model.path)

    def embedded(self) -> Path | None:
        """Return `spark.gguf`; None if the plugin was built without it."""
        return _EMBEDDED if _EMBEDDED.is_file() else None

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> BaseEngine:
        """Load a model: map its files while they are read ahead, warm up with one token."""
        if wrong := attention.conflict(options):
            raise LoadFailed(str(wrong))
        if options.projector not in {None, facts.projector}:
            facts = with_projector(facts, options.projector)
        facts = in_force(replace(facts, context_length=context_length(facts, options)), options)
        draft = draft_facts(options) if facts.generates else None
        slots = draft_slots(draft, facts, options) if draft else 0
        check_memory(facts, options, beside=slots)
        known, reason = self._given_up.get(facts.path, (None, ""))
        if known == facts:
            raise ModelUnsupported(facts.path, reason)
        return self._load(facts, options, progress, draft)

    def _load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
        draft: ModelFacts | None,
    ) -> BaseEngine:
        """Load a model that was checked: read its files here, do everything else on another thread.

        llama.cpp makes the vocabulary before it needs the weights: 0.4 s for 262,000 tokens on one
        thread. The files are read and the engine is imported meanwhile. Then llama.cpp maps them,
        and its first tensor waits for the last byte. The kernel reads what it maps at once
        (MAP_POPULATE in llama-mmap.cpp), by page faults one at a time; this thread's reads are in
        front of that. A file of 640 MB on a cold disk was loaded in 0.6 s, and in 0.9 s one after
        the other.

        That thread ends with the load, for two reasons. llama.cpp may abort there
        (`guarded_thread`). And OpenMP keeps a pool of threads for each thread that has computed:
        with more pooled threads than CPUs libgomp sleeps at barriers instead of spinning
        (`gomp_throttled_spin_count` in libgomp/wait.h), and decoding was a third slower. The pool
        ends with its thread, so the pool of the engine's thread is the only one.
        """
        recent = None
        if options.prompt_cache.storage is not None:
            from pilotlight_backend.prompt_cache import prepare  # noqa: PLC0415 - few have a storage

            recent = prepare(options.prompt_cache)
        total = facts.size_bytes + (draft.size_bytes if draft else 0)
        # A probe must not import the native library: this does. Nothing else takes the GIL yet.
        from pilotlight_llama_cpp.native import library  # noqa: PLC0415

        library()
        thread: GuardedThread[BaseEngine] = GuardedThread(facts.path.name)

        def report(phase: Phase) -> None:
            thread.on_callers_thread(lambda: progress(LoadProgress(phase, total, total)))

        def note_read(count: int) -> None:
            thread.raise_failure()  # a file that llama.cpp refuses is not read to its end
            progress(LoadProgress("read", count, total))

        def read() -> None:
            try:
                read_ahead(_files(facts, draft), note_read)
            except OSError as error:
                reason = f"it cannot be read: {error.strerror}"
                raise ModelFileInvalid(facts.path, reason) from error
            progress(LoadProgress("load", total, total))

        try:
            return thread.run(lambda: _start(facts, options, report, recent, draft), beside=read)
        except Aborted as error:
            reason = f"llama.cpp cannot run it: {error}"
            self._given_up[facts.path] = facts, reason
            raise ModelUnsupported(facts.path, reason) from None


def _files(facts: ModelFacts, draft: ModelFacts | None) -> list[Path]:
    """Return the files that a load reads."""
    drafts = parts(draft.path) if draft else []
    return [*parts(facts.path), *drafts, *([facts.projector] if facts.projector else ())]


def _start(
    facts: ModelFacts,
    options: LoadOptions,
    report: Report,
    recent: "RecentLengths | None",
    draft: ModelFacts | None,
) -> BaseEngine:
    """Load the weights, and import the engine meanwhile, on a thread that computes nothing."""
    from pilotlight_llama_cpp.model import LlamaModel  # noqa: PLC0415 - it imports the library

    importing = in_background(
        lambda: _import_engine(facts, options, report, recent, draft), f"import {facts.path.name}"
    )
    with ExitStack() as undo:
        undo.callback(wait, [importing])  # nothing of a load goes on behind it
        model = LlamaModel(
            facts.path, gpu_layers=options.gpu_layers, proceed=lambda: report("load")
        )
        undo.callback(model.close)
        engine = importing.result()(model)
        undo.pop_all()
    return engine


def _import_engine(
    facts: ModelFacts,
    options: LoadOptions,
    report: Report,
    recent: "RecentLengths | None",
    draft: ModelFacts | None,
) -> "Callable[[LlamaModel], BaseEngine]":
    """Return what makes the engine of a loaded model."""
    threads = options.threads or computing_threads(facts.size_bytes)
    given: dict[str, Any] = {
        "facts": facts,
        "options": options,
        "report": report,
        "threads": threads,
    }
    if facts.generates:
        from pilotlight_llama_cpp import generation_load  # noqa: PLC0415

        return partial(generation_load.load, **given, recent=recent, draft=draft)
    from pilotlight_llama_cpp import pooling_load  # noqa: PLC0415

    return partial(pooling_load.load, **given)


def computing_threads(model_bytes: int) -> int:
    """Return the number of threads for a model: the CPUs that the cgroup grants, or 1 if small.

    ggml's threads meet at a barrier after each operation. In a small model an operation takes
    microseconds, less than the barrier: on two idle cores, two threads decoded a model of 3 MB at a
    tenth of the speed of one.
    """
    return 1 if model_bytes < _SMALL_MODEL else granted_cpus()

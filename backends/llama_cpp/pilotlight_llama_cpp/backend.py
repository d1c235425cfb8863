"""The backend: probes and loads GGUF models."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec.structs import replace

from pilotlight_backend import (
    AdapterFacts,
    BaseEngine,
    EmbeddingEngine,
    Engine,
    LoadFailed,
    LoadOptions,
    LoadProgress,
    ModelFacts,
    ModelFileInvalid,
    ModelUnsupported,
    RankingEngine,
    SamplingParams,
    attention,
)
from pilotlight_backend.capacity import check_memory, context_length, in_force
from pilotlight_backend.cgroup import available_memory, granted_cpus
from pilotlight_backend.readahead import read_ahead
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp import lora_file, probe
from pilotlight_llama_cpp.aborts import Aborted, GuardedThread
from pilotlight_llama_cpp.projector_file import (
    with_projector,
    with_what_is_beside,
    without_projector,
)

if TYPE_CHECKING:  # a probe must not import the native library
    from pilotlight_backend.prompt_cache.recent import RecentLengths
    from pilotlight_llama_cpp.model import LlamaModel
    from pilotlight_llama_cpp.projector import Projector

logger = logging.getLogger("pilotlight.llama_cpp")

Phase: TypeAlias = Literal["load", "warm"]
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
        """Load a model: read its files into the page cache, map them, warm up with one token.

        All but the reading runs on a thread that ends with the load, for two reasons. llama.cpp may
        abort there, see `aborts`. And OpenMP keeps a pool of threads for each thread that has
        computed: with more pooled threads than CPUs libgomp sleeps at barriers instead of spinning
        (`gomp_throttled_spin_count` in libgomp/wait.h), and decoding was a third slower. The pool
        ends with its thread, so the pool of the engine's thread is the only one.
        """
        if wrong := attention.conflict(options):
            raise LoadFailed(str(wrong))
        if options.projector not in {None, facts.projector}:
            facts = with_projector(facts, options.projector)
        facts = in_force(replace(facts, context_length=context_length(facts, options)), options)
        check_memory(facts, options)
        known, reason = self._given_up.get(facts.path, (None, ""))
        if known == facts:
            raise ModelUnsupported(facts.path, reason)
        recent = None
        if options.prompt_cache.storage is not None:
            from pilotlight_backend.prompt_cache import prepare  # noqa: PLC0415 - few have a storage

            recent = prepare(options.prompt_cache)
        total = facts.size_bytes
        try:
            read_ahead(_files(facts), lambda count: progress(LoadProgress("read", count, total)))
        except OSError as error:
            raise ModelFileInvalid(facts.path, f"it cannot be read: {error.strerror}") from error
        start = partial(_start, recent=recent) if facts.generates else _start_pooling
        thread: GuardedThread[BaseEngine] = GuardedThread(facts.path.name)

        def report(phase: Phase) -> None:
            thread.on_callers_thread(lambda: progress(LoadProgress(phase, total, total)))

        try:
            return thread.run(lambda: start(facts, options, report))
        except Aborted as error:
            reason = f"llama.cpp cannot run it: {error}"
            self._given_up[facts.path] = facts, reason
            raise ModelUnsupported(facts.path, reason) from None


def _files(facts: ModelFacts) -> list[Path]:
    """Return the files that a load reads."""
    return [*parts(facts.path), *([facts.projector] if facts.projector else ())]


def _start(
    facts: ModelFacts,
    options: LoadOptions,
    report: Callable[[Phase], None],
    *,
    recent: "RecentLengths | None" = None,
) -> Engine:
    """Make model, context and engine; free what was made if a part fails.

    *recent* is the lengths of stored states.
    """
    # A probe must not import the native library: it is first imported here.
    from pilotlight_llama_cpp.abort_flag import AbortFlag  # noqa: PLC0415
    from pilotlight_llama_cpp.baking import adopt, find  # noqa: PLC0415
    from pilotlight_llama_cpp.context import LlamaContext  # noqa: PLC0415
    from pilotlight_llama_cpp.engine import LlamaCppEngine  # noqa: PLC0415
    from pilotlight_llama_cpp.growing_context import GrowingContext, lengths  # noqa: PLC0415
    from pilotlight_llama_cpp.model import LlamaModel  # noqa: PLC0415
    from pilotlight_llama_cpp.prompt_states import state_identity  # noqa: PLC0415

    threads = options.threads or computing_threads(facts.size_bytes)

    def make(length: int) -> LlamaContext:
        return LlamaContext(
            model,
            abort,
            context_length=length,
            options=options,
            threads=threads,
            images=None if projector is None else projector.traits,
        )

    with ExitStack() as undo:
        report("load")
        model = LlamaModel(
            facts.path, gpu_layers=options.gpu_layers, proceed=lambda: report("load")
        )
        undo.callback(model.close)
        projector = _load_projector(facts, options, model, threads)
        if projector is None:
            facts = without_projector(facts)
        else:
            undo.callback(projector.close)
        abort = AbortFlag(model.lib)
        prompt = find(model, facts, options)
        if prompt:
            undo.callback(prompt.close)
        identity = state_identity(model, facts, options)
        context = GrowingContext(
            model,
            abort,
            make,
            slots=options.parallel,
            lengths=lengths(
                facts,
                model,
                slots=options.parallel,
                gpu_layers=options.gpu_layers,
                available_memory=available_memory(),
                baked=len(prompt.tokens) if prompt else 0,
                expected=0 if recent is None else recent.of(identity),
            ),
        )
        undo.callback(context.close)
        report("warm")
        # The vocabulary is read while the first token is decoded, on a thread without an OpenMP
        # pool, since it computes nothing.
        with ThreadPoolExecutor(max_workers=1) as thread:
            reading = thread.submit(model.read_control)
            context.warm()
            reading.result()
        baked = adopt(context, prompt, facts, options)
        undo.pop_all()
    facts = replace(
        facts,
        vocabulary_size=model.vocabulary_size,
        control_names=model.control_names,
        sampling=frozenset(SamplingParams.__struct_fields__),
    )
    return LlamaCppEngine(
        facts, model, context, options, baked=baked, identity=identity, projector=projector
    )


def _load_projector(
    facts: ModelFacts, options: LoadOptions, model: "LlamaModel", threads: int
) -> "Projector | None":
    """Load the projector, if there is one.

    One that models.yaml does not name may be another model's: then the model reads text alone.
    """
    if facts.projector is None:
        return None
    try:
        from pilotlight_llama_cpp.projector import Projector  # noqa: PLC0415 - most have none

        return Projector(facts.projector, model, threads=threads, gpu=options.gpu_layers != 0)
    except ImportError as error:
        reason = f"llama-cpp-python is built without mtmd: {error}"
    except LoadFailed as error:
        reason = str(error)
    if options.projector is not None:
        raise LoadFailed(reason)
    logger.warning("%s takes no images: %s", facts.path.name, reason)
    return None


def _start_pooling(
    facts: ModelFacts, options: LoadOptions, report: Callable[[Phase], None]
) -> EmbeddingEngine | RankingEngine:
    """Make model, context and engine of a model that embeds or ranks.

    Frees what was made if a part fails.
    """
    from pilotlight_llama_cpp.abort_flag import AbortFlag  # noqa: PLC0415
    from pilotlight_llama_cpp.embedding_engine import LlamaCppEmbeddingEngine  # noqa: PLC0415
    from pilotlight_llama_cpp.model import LlamaModel  # noqa: PLC0415
    from pilotlight_llama_cpp.pooling_context import EmbeddingContext, RankingContext  # noqa: PLC0415
    from pilotlight_llama_cpp.ranking_engine import LlamaCppRankingEngine  # noqa: PLC0415

    with ExitStack() as undo:
        report("load")
        model = LlamaModel(
            facts.path, gpu_layers=options.gpu_layers, proceed=lambda: report("load")
        )
        undo.callback(model.close)
        context = (RankingContext if facts.ranks else EmbeddingContext)(
            model,
            AbortFlag(model.lib),
            facts.architecture,
            context_length=facts.context_length,
            options=options,
            threads=options.threads or computing_threads(facts.size_bytes),
        )
        undo.callback(context.close)
        report("warm")
        context.warm()
        facts = replace(facts, vocabulary_size=model.vocabulary_size)
        if isinstance(context, RankingContext):
            model.read_control()
            facts = replace(facts, control_names=model.control_names)
        undo.pop_all()
    if isinstance(context, RankingContext):
        return LlamaCppRankingEngine(facts, model, context)
    facts = replace(facts, embedding_length=model.embedding_length)
    return LlamaCppEmbeddingEngine(facts, model, context)


def computing_threads(model_bytes: int) -> int:
    """Return the number of threads for a model: the CPUs that the cgroup grants, or 1 if small.

    ggml's threads meet at a barrier after each operation. In a small model an operation takes
    microseconds, less than the barrier: on two idle cores, two threads decoded a model of 3 MB at a
    tenth of the speed of one.
    """
    return 1 if model_bytes < _SMALL_MODEL else granted_cpus()

"""Baked prompts: what their state depends on, how it is made, and how a load adopts it."""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pilotlight_backend import (
    BackendError,
    BakingRefused,
    EngineEvent,
    Failed,
    Finish,
    GenerateRequest,
    InferenceFailed,
    LoadOptions,
    ModelFacts,
    SamplingParams,
    Token,
)
from pilotlight_backend.attention import uses_flash_attention
from pilotlight_backend.baking import MappedPrompt, Origin, open_baked, warn_unfit
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp import native
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.growing_context import GrowingContext
from pilotlight_llama_cpp.model import LlamaModel

logger = logging.getLogger("pilotlight.llama_cpp")

_TILE = 16
_SMALL_FILE = 16 << 20
_STRIDE, _SAMPLE = 256 << 10, 4 << 10


def origin(model: LlamaModel, facts: ModelFacts, options: LoadOptions, template: str) -> Origin:
    """Return everything that the state of a prompt depends on in this load."""
    return Origin(
        backend="llama_cpp",
        build=native.build(model.lib),
        model=digest(model, parts(facts.path)),
        template=template,
        settings={
            # Long-rope models choose rope factors by the context length; a state of another number
            # of slots is rejected (n_stream); kernels but those of Q8_0 and Q4_0 round differently
            # by the size of the batch.
            "context_length": facts.context_length,
            "parallel": options.parallel,
            "chunk": options.chunk,
            "gpu_layers": options.gpu_layers,
            # Of another type of cache llama.cpp rejects the state, as it does with another
            # kv_unified (n_stream), or of flash attention (v_trans).
            "deterministic": int(options.deterministic),
            "flash_attention": int(uses_flash_attention(options)),
            "cache_type_k": options.cache_type_k,
            "cache_type_v": options.cache_type_v,
            "kv_unified": int(options.kv_unified),
        },
    )


def digest(model: LlamaModel, paths: list[Path]) -> str:
    """Return a digest of the header's values, the files' sizes and a sample of their bytes.

    Hashing whole files would take seconds for each gigabyte. The sample has 4 KB of every 256 KB,
    so a part of each large matrix; training or quantising a model again changes nearly all of it.
    An edit of a few bytes may go unnoticed.
    """
    total = hashlib.sha256()
    for text in model.metadata():
        total.update(b"%d:%b" % (len(text), text))
    for path in paths:
        for block in _samples(path):
            total.update(block)
    return total.hexdigest()


def _samples(path: Path) -> Iterator[bytes]:
    """Yield the size of a file, then all of a small one, or the sample of a large one."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        yield b"%d:" % size
        if size <= _SMALL_FILE:
            yield file.read(size)
            return
        for offset in (*range(0, size, _STRIDE), size - _SAMPLE):
            yield os.pread(file.fileno(), _SAMPLE, offset)


def whole_tiles(prompt: tuple[int, ...]) -> tuple[int, ...]:
    """Return *prompt* cut to a multiple of `_TILE` tokens.

    Kernels but those of Q8_0 and Q4_0 compute the rows of a batch in tiles, and the rest of the
    batch in another way that rounds differently. If the baked prompt ends with a tile, it and what
    follows are computed as in one batch. Measured with F16, BF16, Q4_K_M, Q5_K_M and Q6_K.
    """
    if 0 < len(prompt) < _TILE:
        raise BakingRefused(f"the prompt has {len(prompt)} tokens; baking needs at least {_TILE}")
    return prompt[: len(prompt) // _TILE * _TILE]


def find(model: LlamaModel, facts: ModelFacts, options: LoadOptions) -> MappedPrompt | None:
    """Return the baked prompt of *options*; None without one, or with a warning if it is stale."""
    if options.baked is None:
        return None
    try:
        ours = origin(model, facts, options, options.baked.template)
    except OSError as error:
        warn_unfit(options.baked, f"the model cannot be read: {error.strerror or error}")
        return None
    return open_baked(options.baked, ours)


def adopt(
    context: GrowingContext, baked: MappedPrompt | None, facts: ModelFacts, options: LoadOptions
) -> tuple[int, ...]:
    """Put the prompt into *context* and return its tokens; none if llama.cpp rejects its state."""
    if baked is None or options.baked is None:
        return ()
    if not context.adopt(baked):
        baked.close()
        warn_unfit(options.baked, "llama.cpp rejects its state")
        return ()
    logger.info("%s: %d tokens of its prompt are baked", facts.path.name, len(baked.tokens))
    return baked.tokens


class StateOfPrompt:
    """The `emit` of a request that prefills a prompt: saves the state of its slot.

    It is saved at the first token: the slot then holds the prompt and nothing else, and `emit` is
    called on the engine's thread, which alone may touch the context.
    """

    def __init__(self, prompt: tuple[int, ...], save: Callable[[int], memoryview]) -> None:
        self.request = GenerateRequest(
            prompt=prompt,
            max_tokens=1,
            sampling=SamplingParams(temperature=0.0),
            ignore_eos=True,
        )
        self.job: GenerationJob
        """The request; set before it is submitted."""
        self._save = save
        self._state: memoryview | None = None
        self._error: BackendError | None = None
        self._ended = threading.Event()

    def __call__(self, event: EngineEvent) -> None:
        """Handle an event."""
        match event:
            case Token():
                self._save_state()
            case Failed():
                self._error = event.error
                self._ended.set()
            case Finish():
                self._ended.set()
            case _:
                pass

    def _save_state(self) -> None:
        slot = self.job.slot
        if slot is None:
            raise AssertionError("a sequence that samples has a slot")
        try:
            self._state = self._save(slot.id)
        except (BackendError, MemoryError) as error:
            self._error = InferenceFailed(f"the state cannot be saved: {error}")

    def wait(self) -> memoryview:
        """Wait for the state and return it; raises what the request failed with."""
        self._ended.wait()
        if self._error:
            raise self._error
        if self._state is None:
            raise InferenceFailed("the request ended before its prefill did")
        return self._state

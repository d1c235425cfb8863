"""Baked prompts of this backend: what they depend on, how one is made, how one is taken up."""

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
from pilotlight_backend.baking import MappedPrompt, Origin, open_baked, warn_unfit
from pilotlight_backend.split_file import parts
from pilotlight_llama_cpp import native
from pilotlight_llama_cpp.generation_thread import GenerationJob
from pilotlight_llama_cpp.growing_context import GrowingContext
from pilotlight_llama_cpp.model import LlamaModel

logger = logging.getLogger("pilotlight.llama_cpp")

_TILE = 16
_SMALL_FILE = 16 << 20
_STRIDE, _SAMPLE = 256 << 10, 4 << 10


def origin(model: LlamaModel, facts: ModelFacts, options: LoadOptions, template: str) -> Origin:
    """Return what the state of a prompt depends on, in this load."""
    return Origin(
        backend="llama_cpp",
        build=native.build(model.lib),
        model=_digest(model, parts(facts.path)),
        template=template,
        settings={
            # Long-rope models choose their factors by the context; the state has a part for each
            # slot; kernels other than Q8_0's and Q4_0's round by the size of the batch.
            "context_length": facts.context_length,
            "parallel": options.parallel,
            "chunk": options.chunk,
            "gpu_layers": options.gpu_layers,
        },
    )


def _digest(model: LlamaModel, paths: list[Path]) -> str:
    """Tell models apart by the header's values, the files' sizes and a sample of their bytes.

    To hash all of them would take seconds a gigabyte. A sample has 4 KB of each 256 KB, so a part
    of every matrix that matters, and to train or to quantise a model anew changes nearly every
    block of it. A file in which somebody edits a few bytes is the same to it.
    """
    digest = hashlib.sha256()
    for text in model.metadata():
        digest.update(b"%d:%b" % (len(text), text))
    for path in paths:
        for block in _samples(path):
            digest.update(block)
    return digest.hexdigest()


def _samples(path: Path) -> Iterator[bytes]:
    """Yield the file's size, then all of a small file, and of a large one blocks with its end."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        yield b"%d:" % size
        if size <= _SMALL_FILE:
            yield file.read(size)
            return
        for offset in (*range(0, size, _STRIDE), size - _SAMPLE):
            yield os.pread(file.fileno(), _SAMPLE, offset)


def whole_tiles(prompt: tuple[int, ...]) -> tuple[int, ...]:
    """Return *prompt* without what is left over of its last tile.

    But for Q8_0 and Q4_0, kernels take the rows of a batch in tiles, and what is left over, or a
    batch of few rows, in another way that rounds differently. Cut at a tile's end, the two batches
    are computed as the one that they are parts of. Measured on F16, BF16, Q4_K_M, Q5_K_M and Q6_K.
    """
    if 0 < len(prompt) < _TILE:
        raise BakingRefused(f"the prompt has {len(prompt)} tokens; baking needs at least {_TILE}")
    return prompt[: len(prompt) // _TILE * _TILE]


def find(model: LlamaModel, facts: ModelFacts, options: LoadOptions) -> MappedPrompt | None:
    """Return the baked prompt of *options*; None without one, or with a warning, if it is unfit."""
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
    """Give *context* the prompt, and return its tokens; none where llama.cpp refuses it."""
    if baked is None or options.baked is None:
        return ()
    if not context.adopt(baked):
        baked.close()
        warn_unfit(options.baked, "llama.cpp rejects its state")
        return ()
    logger.info("%s: %d tokens of its prompt are baked", facts.path.name, len(baked.tokens))
    return baked.tokens


class StateOfPrompt:
    """The listener of a request that evaluates a prompt, and then takes its state.

    The first token comes when the slot holds the prompt and nothing else, and comes on the
    engine's thread: there the state is taken.
    """

    def __init__(self, prompt: tuple[int, ...], save: Callable[[int], memoryview]) -> None:
        self.request = GenerateRequest(
            prompt=prompt,
            max_tokens=1,
            sampling=SamplingParams(temperature=0.0),
            ignore_eos=True,
        )
        self.job: GenerationJob
        """The request, once it was submitted."""
        self._save = save
        self._state: memoryview | None = None
        self._error: BackendError | None = None
        self._ended = threading.Event()

    def __call__(self, event: EngineEvent) -> None:
        """Hear an event."""
        match event:
            case Token():
                self._take()
            case Failed():
                self._error = event.error
                self._ended.set()
            case Finish():
                self._ended.set()
            case _:
                pass

    def _take(self) -> None:
        slot = self.job.slot
        if slot is None:
            raise AssertionError("a sequence that samples has a slot")
        try:
            self._state = self._save(slot.id)
        except (BackendError, MemoryError) as error:
            self._error = InferenceFailed(f"the state cannot be saved: {error}")

    def wait(self) -> memoryview:
        """Return the state; waits for it. Raises why there is none."""
        self._ended.wait()
        if self._error:
            raise self._error
        if self._state is None:
            raise InferenceFailed("the request ended before its prefill did")
        return self._state

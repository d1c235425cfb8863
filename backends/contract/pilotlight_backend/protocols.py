"""What a backend implements. Engines know no asyncio, no HTTP and no OpenAI."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.types import (
    BakedPrompt,
    EmbedEvent,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    LoadOptions,
    LoadProgress,
    ModelFacts,
)
from pilotlight_backend.verbatim import Span


class Ticket(Protocol):
    """One submitted request."""

    def cancel(self) -> None:
        """End the request at the next step; a no-op once it has ended.

        A step that evaluates its prompt, and is for nobody else, ends within a second. Any thread.
        Its last event is then `Finish("cancelled")`, unless another one came first.
        """


@runtime_checkable
class BaseEngine(Protocol):
    """A loaded model, whatever it is for. Every method may be called from any thread."""

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become their ids.

        Adds nothing at either end.
        """

    def stats(self) -> EngineStats:
        """Return a snapshot; never waits for a step, a guide or a listener."""

    def close(self) -> None:
        """End every request with `Failed(EngineClosed)`, and give all memory back; waits for that.

        Prompts that are being evaluated end within a second. A second call does nothing.
        """


@runtime_checkable
class Engine(BaseEngine, Protocol):
    """A loaded model that writes answers."""

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become their ids.

        In the parts of it that are *verbatim*, which rise and do not overlap, the names of
        `facts.control_names` stay text all the same. Adds nothing at either end.
        """

    def vocabulary(self) -> Vocabulary:
        """Return every token; the first call may take some tenths of a second."""

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request* and return at once.

        *emit* is called on the engine's thread, in order, and must return quickly. Raises
        `InvalidParameter` or `ContextLengthExceeded` for a request that can never run, and
        `EngineClosed` after `close`; *emit* is then never called.
        """


@runtime_checkable
class EmbeddingEngine(BaseEngine, Protocol):
    """A loaded model that makes vectors of texts. It need not write answers as well."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text* as an input: with what the model wants at its ends.

        Special tokens' names become their ids.
        """

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*, token ids that are taken as they are, and return at once.

        Inputs are evaluated in their order, as many together as fit a step, those of several
        requests too. *emit* is called on the engine's thread, in order, and must return quickly.
        Raises `InvalidParameter` for no inputs, an empty one or an unknown token, its
        `ContextLengthExceeded` for one that is longer than the context, and `EngineClosed` after
        `close`; *emit* is then never called.
        """


@runtime_checkable
class BakingEngine(Engine, Protocol):
    """An engine that can also keep a prompt's state in a file. Not every backend has such.

    Its backend honours `LoadOptions.baked`: in a load with the same options every request that
    begins with the prompt, and goes on, starts behind it, and has the tokens that it has without.
    """

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Evaluate *prompt* and write its state to `baked.path`, whole or not at all.

        Returns how many of its tokens are baked: some at the end may be left out, where evaluating
        them apart from what follows would not give the same numbers. Blocks; any thread but the
        engine's. Raises what `submit` raises, `BakingRefused`, `InferenceFailed`, and `OSError`
        where the file cannot be written.
        """


@runtime_checkable
class CachingEngine(Engine, Protocol):
    """An engine that keeps states of prompts, as `LoadOptions.prompt_cache` says."""

    def save_prompts(self, seconds: float) -> None:
        """Write what slots hold to storage, most valuable first, for so many *seconds* at the most.

        For a server that ends: requests that run meanwhile are slower. Blocks; any thread but the
        engine's. A no-op without a storage.
        """

    def clear_prompts(self, scope: str | None = None) -> None:
        """Forget every prompt, or those of *scope*: in idle slots, in memory and in storage.

        A slot that is in use is cleared when its request ends. Does not wait for storage.
        """


@runtime_checkable
class RemoteEngine(BaseEngine, Protocol):
    """An engine in a process of its own: what is asked of it waits for that process.

    `submit`, `embed`, `stats` and `cancel` do not, and suit an event loop.
    """

    @property
    def pid(self) -> int:
        """The process's number."""

    def kill(self, reason: str) -> None:
        """End the process at once; its requests end with `InferenceFailed`, for *reason*."""


@runtime_checkable
class Backend(Protocol):
    """One way to run models."""

    @property
    def name(self) -> str:
        """The backend's name, that of its entry point: `llama_cpp`."""

    def probe(self, path: Path) -> ModelFacts | None:
        """Return what the files at *path* say, or None where they are not this backend's kind.

        Milliseconds, headers only, no native library. Raises `ModelFileInvalid` for files of
        this kind that are damaged.
        """

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> BaseEngine:
        """Load a model; blocks, so it runs in a thread of the caller's.

        The engine is an `EmbeddingEngine` where *facts* say that the model embeds, and else an
        `Engine`.

        *progress* is called on that thread, and what it raises ends the load and passes through.
        Raises `ModelFileInvalid`, `LoadFailed` or `InsufficientMemory`, and then holds nothing.
        """

    def embedded(self) -> Path | None:
        """Return the small model that ships inside this plugin, if one does."""

"""What a backend implements: a `Backend`, and the engines that it loads.

Engines know no asyncio, no HTTP and no OpenAI. The package's docstring has the rules for threads,
units and errors; a docstring here names its exceptions from them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from pilotlight_backend.adapters import AdapterFacts
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
    RankEvent,
    TokenizedPairs,
)
from pilotlight_backend.verbatim import Span


class Ticket(Protocol):
    """One submitted request."""

    def cancel(self) -> None:
        """End the request at the next step; does nothing once it has ended. Any thread.

        Its last event is `Finish("cancelled")`, unless it ends otherwise before. A step that
        evaluates only this request's prompt is aborted within a second.
        """


@runtime_checkable
class BaseEngine(Protocol):
    """A loaded model of either kind. Any thread may call any method."""

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*, without BOS or EOS.

        With *special*, names of special tokens become their ids; without, they are text.
        """

    def stats(self) -> EngineStats:
        """Return a snapshot. Never waits for a step, a guide or a listener."""

    def close(self) -> None:
        """End every request with `Failed(EngineClosed)`, free all memory, and return then.

        The evaluation of a prompt is aborted within a second. A second call does nothing.
        """


@runtime_checkable
class Engine(BaseEngine, Protocol):
    """A loaded model that generates text."""

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*, without BOS or EOS.

        With *special*, names of special tokens become their ids; without, they are text. In the
        *verbatim* spans, which are in order and do not overlap, the names in
        `facts.control_names` are text in any case: a message cannot end its own turn.
        """

    def vocabulary(self) -> Vocabulary:
        """Return every token. The first call may take some tenths of a second."""

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request* and return at once.

        The engine's thread calls *emit* with the events, in order. *emit* should return quickly: it
        holds up the engine. If it raises, the request is cancelled.

        Raises `InvalidParameter` or its `ContextLengthExceeded` for a request that can never run,
        and `EngineClosed` after `close`; then *emit* is never called.
        """


@runtime_checkable
class SeeingEngine(Engine, Protocol):
    """An engine whose prompts may have images: `facts.sees`."""

    def image_tokens(self, width: int, height: int) -> int:
        """Return how many tokens an image of that size takes in a prompt, at once.

        Tokens that the model wants around an image are among them: a chat template writes none.

        Raises `InvalidParameter` for a size that the model cannot see.
        """


@runtime_checkable
class EmbeddingEngine(BaseEngine, Protocol):
    """A loaded model that returns vectors for texts. It need not generate as well."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text* as an input, with the model's BOS, EOS, CLS or SEP.

        Names of special tokens become their ids.
        """

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*, token ids that are used as they are, and return at once.

        Inputs are evaluated in order, as many in one step as fit, also of several requests. *emit*
        is called as by `Engine.submit`.

        Raises `InvalidParameter` for no inputs, an empty input or an unknown token, its
        `ContextLengthExceeded` for an input that is longer than the context, and `EngineClosed`
        after `close`; then *emit* is never called.
        """


@runtime_checkable
class RankingEngine(BaseEngine, Protocol):
    """A loaded model that scores how relevant documents are to a query."""

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*, as the model was trained.

        Names of control tokens in the texts are text: a document cannot end its own turn.
        """

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        """Queue *pairs*, token ids that are used as they are, and return at once.

        Pairs are evaluated in order, as many in one step as fit, also of several requests. *emit*
        is called as by `Engine.submit`.

        Raises what `EmbeddingEngine.embed` raises; then *emit* is never called.
        """


@runtime_checkable
class BakingEngine(Engine, Protocol):
    """An engine that can also write a prompt's state to a file. Optional.

    Its backend honours `LoadOptions.baked`: after a load with the same options, every request whose
    prompt is longer and begins with the baked one starts behind it, and samples the same tokens as
    without it.
    """

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Evaluate *prompt*, write its state to `baked.path`, and return how many tokens are baked.

        Some tokens at the end may be omitted, if evaluating them apart from what follows would give
        other numbers. The file is written completely or not at all. Blocks; must not run on the
        engine's thread.

        Raises what `submit` raises, `BakingRefused`, `InferenceFailed`, and `OSError` if the file
        cannot be written.
        """


@runtime_checkable
class CachingEngine(Engine, Protocol):
    """An engine that keeps states of prompts, as `LoadOptions.prompt_cache` says."""

    def save_prompts(self, seconds: float) -> None:
        """Write what slots hold to storage, most valuable first, for so many *seconds* at the most.

        For a server that ends: requests that run meanwhile are slower. Blocks; any thread but the
        engine's. A no-op without a storage.
        """

    def clear_prompts(self, owner: str | None = None) -> None:
        """Forget every prompt, or those in the scopes of *owner*: in slots, memory and storage.

        Returns after the running step, when nothing starts from such a prompt any more. A slot that
        is in use is cleared when its request ends. Does not wait for storage. Any thread but the
        engine's.
        """


@runtime_checkable
class AdaptingEngine(Engine, Protocol):
    """An engine that loads adapters over its model's weights. Optional.

    Its backend is an `AdaptingBackend`.
    """

    def load_adapter(self, path: Path) -> str:
        """Load the adapter at *path*, and return the id by which requests name it. Blocks.

        The id is the digest of the file's content. Loading the same content again loads nothing,
        and takes another `unload_adapter` to undo.

        Raises what `AdaptingBackend.probe_adapter` raises, `LoadFailed` or its
        `InsufficientMemory`, and `EngineClosed`.
        """

    def unload_adapter(self, adapter: str) -> None:
        """Take no further request with *adapter*, and free its memory when the last has ended.

        A no-op for an unknown one.
        """


@runtime_checkable
class RemoteEngine(BaseEngine, Protocol):
    """An engine in a process of its own.

    `submit`, `embed`, `rank`, `stats` and `cancel` do not wait for the process; all other methods
    do.
    """

    @property
    def pid(self) -> int:
        """The process id."""

    def kill(self, reason: str) -> None:
        """Kill the process; its requests end with `InferenceFailed(reason)`."""


@runtime_checkable
class Backend(Protocol):
    """Loads models of one kind of files."""

    @property
    def name(self) -> str:
        """The backend's name, equal to its entry point's: `llama_cpp`."""

    def probe(self, path: Path) -> ModelFacts | None:
        """Return what the files at *path* say of the model; None for files of another kind.

        Called for every file of a models folder, so it takes milliseconds: it reads headers only
        and imports no native library. Raises `ModelFileInvalid` for damaged files of this kind, and
        its `ModelUnsupported` for a model that the backend cannot run.
        """

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> BaseEngine:
        """Load the model of *facts* and return its engine. Blocks.

        The engine is an `EmbeddingEngine` if `facts.embeds`, a `RankingEngine` if `facts.ranks`,
        else an `Engine`.

        *progress* is called on the calling thread whenever the load advances: the service ends a
        load that makes no progress. It raises to end a load; its exception passes through.

        Raises `ModelFileInvalid`, `LoadFailed` or its `InsufficientMemory`. A load that raises
        keeps no memory and no thread.
        """

    def embedded(self) -> Path | None:
        """Return the path of the small model inside this plugin; None if it has none."""


@runtime_checkable
class SeeingBackend(Backend, Protocol):
    """A backend whose engines that generate see with a projector. Optional.

    `probe` finds the projector that is beside a model by its name (`projectors`).
    """

    def probe_projector(self, path: Path, model: ModelFacts) -> ModelFacts:
        """Return the facts of *model* with the projector at *path* in the place of any other.

        Reads headers only, as `probe` does. Raises `ModelFileInvalid` for a damaged file or one of
        another kind, its `ModelUnsupported` for a projector or model that the backend cannot use.
        """


@runtime_checkable
class SelectiveBackend(Backend, Protocol):
    """A backend that knows which architectures a file of its kind may have. Optional.

    A model is found by its architecture before it is found by its file's name. So where each
    backend says that there is no architecture of a name, the file of that name is found without
    probing the others.
    """

    def knows_architecture(self, architecture: str) -> bool:
        """Return False if no file, folders apart, has `ModelFacts` with this *architecture*.

        Folders are probed in any case. Takes milliseconds and imports no native library.
        """


@runtime_checkable
class AdaptingBackend(Backend, Protocol):
    """A backend whose engines that generate are `AdaptingEngine`s. Optional."""

    def probe_adapter(self, path: Path, model: ModelFacts) -> AdapterFacts:
        """Return what the file at *path* says of the adapter, checked against the base *model*.

        Reads headers only, as `probe` does. Raises `ModelFileInvalid` for a damaged file or one of
        another kind, its `ModelUnsupported` for an adapter that is not for this model or that the
        backend cannot apply, and `OSError`.
        """

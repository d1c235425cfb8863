"""resolve → tokenise → embed: from a request's inputs to their vectors."""

from array import array
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from msgspec import Struct

from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InvalidRequest,
    QueueFull,
    ServiceError,
)
from pilotlight.generation.async_engine import AsyncEmbedder, EmbedResult
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.observability.answer_watch import AnswerWatch
from pilotlight.observability.timing import Phases
from pilotlight.scheduling.lease import ModelLeases
from pilotlight.scheduling.throughput import Throughput
from pilotlight_backend import BackendError, Failed, InvalidParameter
from pilotlight_backend import ContextLengthExceeded as InputTooLong
from pilotlight_backend.vectors import normalize


class EmbeddingParams(Struct, frozen=True, kw_only=True):
    """What to embed, in no endpoint's words."""

    model: str
    inputs: Sequence[str | Sequence[int]]
    """Texts, and texts that are tokenised already; the latter are taken as they are."""
    several: bool = True
    """Whether the request has a list of inputs, so that an error names a place in it."""
    dimensions: int | None = None
    """Numbers of each vector; None means as many as the model makes."""


class Embeddings(Struct, frozen=True, kw_only=True):
    """The answer: vectors in the order of the inputs, each of length 1."""

    model: str
    vectors: "Sequence[array[float]]"
    prompt_tokens: int
    timing: Phases | None
    """Where the time went, if the model was cold when the request came."""


class Embedder:
    """Embeds with whatever model a request names.

    Its requests take no turns: an engine embeds all that wait in one go, and who is held back would
    miss it.
    """

    def __init__(self, leases: ModelLeases, *, max_queue: int, clock: Callable[[], float]) -> None:
        self._leases = leases
        self._max_queue = max_queue
        self._clock = clock
        self._throughputs: WeakKeyDictionary[LoadedModel, Throughput] = WeakKeyDictionary()

    async def embed(self, params: EmbeddingParams, *, hold: Hold, caller: str = "") -> Embeddings:
        """Return the vectors. Cancel it to take the request out of the engine.

        *hold* is how long to wait for a model that is loading, *caller* whose limits it counts
        against. Raises a `ServiceError`.
        """
        async with self._leases.lease(params.model, hold, caller) as (model, watch):
            return await self._embed(model, params, watch)

    async def _embed(
        self, model: LoadedModel, params: EmbeddingParams, watch: AnswerWatch
    ) -> Embeddings:
        embedder = AsyncEmbedder(model.embedder, model.calls)
        _check_dimensions(model, params.dimensions)
        throughput = self._throughput(model)
        self._check_queue(embedder, throughput)  # who is refused costs no tokenising
        inputs = await embedder.tokenize(params.inputs)
        watch.inputs = len(inputs)
        self._check_queue(embedder, throughput)  # others may have come meanwhile
        with throughput.request(), model.failure.subscribed(embedder.fail):
            result = await self._submit(embedder, params, inputs, watch)
            if isinstance(result.end, Failed):
                raise _refusal(params, inputs, result.end.error) from result.end.error
        timing = watch.first_token()
        watch.ended(result.end.reason)
        watch.spent(result.end.usage)
        return Embeddings(
            model=model.entry.name,
            vectors=[shortened(vector, params.dimensions) for vector in result.vectors],
            prompt_tokens=result.end.usage.prompt_tokens,
            timing=timing,
        )

    def _throughput(self, model: LoadedModel) -> Throughput:
        throughput = self._throughputs.get(model)
        if throughput is None:
            # A step may end every request that has a slot, and the queue in the next one.
            window = model.embedder.stats().slots + self._max_queue
            throughput = self._throughputs[model] = Throughput(window, self._clock)
        return throughput

    def _check_queue(self, embedder: AsyncEmbedder, throughput: Throughput) -> None:
        queued = embedder.stats().queued
        if queued >= self._max_queue:
            raise QueueFull(
                f"the queue of this model is full; requests waiting: {queued}",
                retry_after=throughput.seconds_for(queued),
            )

    async def _submit(
        self,
        embedder: AsyncEmbedder,
        params: EmbeddingParams,
        inputs: Sequence[Sequence[int]],
        watch: AnswerWatch,
    ) -> EmbedResult:
        watch.submitted()
        try:
            return await embedder.embed(inputs, started=watch.begun)
        except BackendError as error:
            raise _refusal(params, inputs, error) from error


def shortened(vector: "array[float]", dimensions: int | None) -> "array[float]":
    """Return the first *dimensions* numbers of *vector*, of length 1 again.

    So OpenAI does it with models that are trained for it, which put the most into the first
    numbers (Matryoshka embeddings).
    """
    if dimensions is None or dimensions == len(vector):
        return vector
    return normalize(vector[:dimensions])


def _check_dimensions(model: LoadedModel, dimensions: int | None) -> None:
    length = model.facts.embedding_length
    if dimensions is not None and dimensions > length:
        raise InvalidRequest(
            f"dimensions: {dimensions} is more than the {length} that the model"
            f" {model.entry.name!r} makes",
            param="dimensions",
        )


def _refusal(
    params: EmbeddingParams, inputs: Sequence[Sequence[int]], error: BackendError
) -> ServiceError:
    """Return in a request's words why the engine does not take it, or failed at it.

    It is raised or told in an event: an engine in another process has taken the request by then.
    """
    match error:
        case InputTooLong():
            return _too_long(params, inputs, error)
        case InvalidParameter():
            return InvalidRequest(str(error), param="input")
        case _:
            return InferenceError(str(error))


def _too_long(
    params: EmbeddingParams, inputs: Sequence[Sequence[int]], error: InputTooLong
) -> ContextLengthExceeded:
    most = error.context_length
    longest = max(range(len(inputs)), key=lambda place: len(inputs[place]))
    place = next((place for place, one in enumerate(inputs) if len(one) > most), longest)
    tokens = len(inputs[place])
    param = f"input[{place}]" if params.several else "input"
    return ContextLengthExceeded(
        f"{param} comes to {tokens} tokens; this model takes {most}", param=param
    )

"""Embeds a request's inputs: lease the model, tokenize, embed."""

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from weakref import WeakKeyDictionary

from msgspec import Struct

from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InvalidRequest,
    ServiceError,
)
from pilotlight.generation.async_pooling import AsyncEmbedder
from pilotlight.generation.pooling_queue import PoolingQueue
from pilotlight.models.embedding_prompts import PromptsInvalid, prompts_of
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.observability.timing import Phases
from pilotlight.scheduling.lease import ModelLeases
from pilotlight_backend import BackendError, Failed, Finish, InvalidParameter
from pilotlight_backend import ContextLengthExceeded as InputTooLong
from pilotlight_backend.vectors import normalize


class EmbeddingParams(Struct, frozen=True, kw_only=True):
    """The parameters of an embedding request."""

    model: str
    inputs: Sequence[str | Sequence[int]]
    """Texts, or token ids, which are used as they are."""
    several: bool = True
    """Whether the request has a list of inputs, so that an error names the index."""
    dimensions: int | None = None
    """Length of each vector; None means the model's own."""
    prompt_name: str | None = None
    """Which of the model's prompts comes before each text."""


class Embeddings(Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs, normalized to length 1."""

    model: str
    vectors: "Sequence[array[float]]"
    prompt_tokens: int
    timing: Phases | None
    """Where the time went, if the model was cold when the request came."""


class Embedder:
    """Embeds with the model that a request names."""

    def __init__(self, leases: ModelLeases, queue: PoolingQueue) -> None:
        self._leases = leases
        self._queue = queue
        self._prompts: WeakKeyDictionary[LoadedModel, Mapping[str, str]] = WeakKeyDictionary()

    async def embed(self, params: EmbeddingParams, *, hold: Hold, caller: str = "") -> Embeddings:
        """Return the vectors. Cancelling it cancels the request.

        *hold* is how long to wait for a model that is loading, *caller* whose limits it counts
        against. Raises a `ServiceError`.
        """
        async with self._leases.lease(params.model, hold, caller) as (model, recorder, _):
            return await self._embed(model, params, recorder)

    async def _embed(
        self, model: LoadedModel, params: EmbeddingParams, recorder: AnswerRecorder
    ) -> Embeddings:
        embedder = AsyncEmbedder(model.embedder, model.calls)
        _check_dimensions(model, params.dimensions)
        self._queue.check(model)  # before tokenizing, which costs time
        texts = await self._with_prompt(model, params)
        inputs = await embedder.tokenize(texts)
        recorder.inputs = len(inputs)
        self._queue.check(model)  # others may have been queued meanwhile
        with (
            self._queue.throughput(model).request(),
            model.failure.subscribed(embedder.fail),
        ):
            vectors, end = await self._submit(embedder, params, inputs, recorder)
            if isinstance(end, Failed):
                raise _request_error(params, inputs, end.error) from end.error
        timing = recorder.first_token()
        recorder.ended(end.reason)
        recorder.spent(end.usage)
        return Embeddings(
            model=model.entry.name,
            vectors=[shortened(vector, params.dimensions) for vector in vectors],
            prompt_tokens=end.usage.prompt_tokens,
            timing=timing,
        )

    async def _with_prompt(
        self, model: LoadedModel, params: EmbeddingParams
    ) -> Sequence[str | Sequence[int]]:
        """Return the inputs with the requested prompt before each; raises `InvalidRequest`."""
        name = params.prompt_name
        if name is None:
            return params.inputs
        if model not in self._prompts:
            try:
                self._prompts[model] = await asyncio.to_thread(prompts_of, model.entry)
            except PromptsInvalid as error:
                raise InvalidRequest(f"prompt_name: {error}", param="prompt_name") from error
        prompt = named_prompt(self._prompts[model], name, model.entry.name)
        return [
            _prefixed(prompt, one, _param(params, index)) for index, one in enumerate(params.inputs)
        ]

    async def _submit(
        self,
        embedder: AsyncEmbedder,
        params: EmbeddingParams,
        inputs: Sequence[Sequence[int]],
        recorder: AnswerRecorder,
    ) -> "tuple[list[array[float]], Finish | Failed]":
        recorder.submitted()
        try:
            started = partial(recorder.begun_pooling, sum(map(len, inputs)))
            return await embedder.embed(inputs, started=started)
        except BackendError as error:
            raise _request_error(params, inputs, error) from error


def named_prompt(prompts: Mapping[str, str], name: str, model: str) -> str:
    """Return the prompt *name* of *model*, which has *prompts*; raises `InvalidRequest`."""
    if name in prompts:
        return prompts[name]
    known = f"it has {', '.join(sorted(prompts))}" if prompts else "it has none"
    raise InvalidRequest(
        f"prompt_name: the model {model!r} has no prompt {name!r}; {known}", param="prompt_name"
    )


def _prefixed(prompt: str, text: str | Sequence[int], param: str) -> str:
    if isinstance(text, str):
        return prompt + text
    raise InvalidRequest(
        f"{param}: expected a text, since prompt_name cannot be combined with token ids",
        param=param,
    )


def shortened(vector: "array[float]", dimensions: int | None) -> "array[float]":
    """Return the first *dimensions* numbers of *vector*, normalized again.

    OpenAI shortens vectors in this way, for models trained with Matryoshka representation
    learning, whose first numbers matter most.
    """
    if dimensions is None or dimensions == len(vector):
        return vector
    return normalize(vector[:dimensions])


def _check_dimensions(model: LoadedModel, dimensions: int | None) -> None:
    length = model.facts.embedding_length
    if dimensions is not None and dimensions > length:
        raise InvalidRequest(
            f"dimensions: {dimensions} is more than the {length} of the model {model.entry.name!r}",
            param="dimensions",
        )


def _request_error(
    params: EmbeddingParams, inputs: Sequence[Sequence[int]], error: BackendError
) -> ServiceError:
    """Return the request's error for an error of the engine.

    An engine in another process refuses a request by an event, after it was submitted.
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
    longest = max(range(len(inputs)), key=lambda index: len(inputs[index]))
    index = next((index for index, one in enumerate(inputs) if len(one) > most), longest)
    tokens = len(inputs[index])
    param = _param(params, index)
    return ContextLengthExceeded(
        f"{param}: {tokens} tokens; this model takes at most {most}", param=param
    )


def _param(params: EmbeddingParams, index: int) -> str:
    """Return the path of an input in the request."""
    return f"input[{index}]" if params.several else "input"

"""Ranks a request's documents: lease the model, tokenize, cut what may be cut, score."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from msgspec import Struct

from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InvalidRequest,
    ServiceError,
)
from pilotlight.generation.async_pooling import AsyncRanker
from pilotlight.generation.pooling_queue import PoolingQueue
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.models.resolver import Resolver
from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.observability.timing import Phases
from pilotlight.scheduling.lease import ModelLeases
from pilotlight_backend import (
    BackendError,
    Failed,
    Finish,
    InvalidParameter,
    Relevance,
    TokenizedPairs,
)
from pilotlight_backend import ContextLengthExceeded as PairTooLong


class RankingParams(Struct, frozen=True, kw_only=True):
    """The parameters of a request that ranks."""

    model: str | None
    """None means the only model that ranks."""
    query: str
    documents: Sequence[str]
    field: Literal["documents", "texts"] = "documents"
    """The name of the documents in the request, for errors."""
    document_tokens: int | None = None
    """Tokens to which a longer document is cut."""
    truncate: bool = False
    """Whether a document that is too long for the model is cut; if not, it is an error."""


class Ranking(Struct, frozen=True, kw_only=True):
    """A score for each document, in their order."""

    model: str
    scores: Sequence[float]
    relevance: Relevance
    prompt_tokens: int
    timing: Phases | None
    """Where the time went, if the model was cold when the request came."""

    @property
    def probabilities(self) -> Sequence[float]:
        """The scores as numbers from 0 to 1."""
        return self.scores if self.relevance == "probability" else [*map(sigmoid, self.scores)]


class Reranker:
    """Ranks with the model that a request names."""

    def __init__(self, leases: ModelLeases, queue: PoolingQueue, resolver: Resolver) -> None:
        self._leases = leases
        self._queue = queue
        self._resolver = resolver

    async def rank(self, params: RankingParams, *, hold: Hold, caller: str = "") -> Ranking:
        """Return the scores. Cancelling it cancels the request.

        *hold* is how long to wait for a model that is loading, *caller* whose limits it counts
        against. Raises a `ServiceError`.
        """
        name = params.model or await self._only_model()
        async with self._leases.lease(name, hold, caller) as (model, recorder, _):
            return await self._rank(model, params, recorder)

    async def _only_model(self) -> str:
        """Return the one model that ranks; raises `InvalidRequest` for none and for several."""
        listed = await self._resolver.described()
        names = [one.entry.name for one in listed if one.facts is not None and one.facts.ranks]
        if len(names) == 1:
            return names[0]
        reason = "no model here ranks documents; add one whose capabilities have rerank"
        if names:
            reason = f"expected the name of a model that ranks: {', '.join(names)}"
        raise InvalidRequest(f"model: {reason}", param="model")

    async def _rank(
        self, model: LoadedModel, params: RankingParams, recorder: AnswerRecorder
    ) -> Ranking:
        engine = model.ranker
        ranker = AsyncRanker(engine, model.calls)
        self._queue.check(model)  # before tokenizing, which costs time
        made = await ranker.tokenize(params.query, params.documents)
        pairs = fitted(made, params, engine.facts.context_length)
        recorder.documents = len(pairs)
        self._queue.check(model)  # others may have been queued meanwhile
        with (
            self._queue.throughput(model).request(),
            model.failure.subscribed(ranker.fail),
        ):
            scores, end = await self._submit(ranker, params, pairs, recorder)
            if isinstance(end, Failed):
                raise _request_error(params, pairs, end.error) from end.error
        timing = recorder.first_token()
        recorder.ended(end.reason)
        recorder.spent(end.usage)
        return Ranking(
            model=model.entry.name,
            scores=scores,
            relevance=engine.facts.relevance or "logit",
            prompt_tokens=end.usage.prompt_tokens,
            timing=timing,
        )

    async def _submit(
        self,
        ranker: AsyncRanker,
        params: RankingParams,
        pairs: Sequence[Sequence[int]],
        recorder: AnswerRecorder,
    ) -> tuple[list[float], Finish | Failed]:
        recorder.submitted()
        try:
            started = partial(recorder.begun_pooling, sum(map(len, pairs)))
            return await ranker.rank(pairs, started=started)
        except BackendError as error:
            raise _request_error(params, pairs, error) from error


def fitted(made: TokenizedPairs, params: RankingParams, context_length: int) -> list[Sequence[int]]:
    """Return the pairs of *made*, documents cut as *params* allow.

    Raises `ContextLengthExceeded` for a pair that is longer than the context, and for a query that
    leaves no room for a document.
    """
    if made.frame >= context_length:
        raise ContextLengthExceeded(
            f"query: {made.frame} tokens with what the model adds; this model takes at most"
            f" {context_length}, the document included",
            param="query",
        )
    room = context_length - made.frame
    wanted = params.document_tokens
    most = room if params.truncate else None
    if wanted is not None:
        most = wanted if most is None else min(most, wanted)
    pairs: list[Sequence[int]] = []
    for index, pair in enumerate(made.pairs):
        cut = pair if most is None else shortened(pair, made, most)
        if len(cut) > context_length:
            raise _too_long(params, index, len(cut), context_length)
        pairs.append(cut)
    return pairs


def shortened(pair: Sequence[int], made: TokenizedPairs, most: int) -> Sequence[int]:
    """Return *pair* with at most so many tokens of its document, the first ones."""
    excess = len(pair) - made.frame - most
    if excess <= 0:
        return pair
    end = len(pair) - made.tail
    return [*pair[: end - excess], *pair[end:]]


def sigmoid(score: float) -> float:
    """Return the probability that the logit *score* means, without overflow."""
    if score >= 0:
        return 1 / (1 + math.exp(-score))
    power = math.exp(score)
    return power / (1 + power)


def _request_error(
    params: RankingParams, pairs: Sequence[Sequence[int]], error: BackendError
) -> ServiceError:
    """Return the request's error for an error of the engine."""
    match error:
        case PairTooLong():
            lengths = [len(one) for one in pairs]
            longest = lengths.index(max(lengths))
            return _too_long(params, longest, lengths[longest], error.context_length)
        case InvalidParameter():
            return InvalidRequest(str(error), param=params.field)
        case _:
            return InferenceError(str(error))


def _too_long(params: RankingParams, index: int, tokens: int, most: int) -> ContextLengthExceeded:
    param = f"{params.field}[{index}]"
    return ContextLengthExceeded(
        f"{param}: {tokens} tokens with the query; this model takes at most {most};"
        " `truncate: true` cuts long documents",
        param=param,
    )

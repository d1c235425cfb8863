"""The bridge from engines with one output for each input, which embed or rank, to asyncio."""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec import Struct

from pilotlight.generation.async_engine import long_text, tokens_in
from pilotlight.models.engine_calls import EngineCalls
from pilotlight_backend import (
    BackendError,
    BaseEngine,
    Embedded,
    EmbeddingEngine,
    EngineStats,
    Failed,
    Finish,
    RankingEngine,
    Scored,
    Started,
    Ticket,
    TokenizedPairs,
)

E = TypeVar("E", bound=BaseEngine)
Output: TypeAlias = Embedded | Scored


class Pooled(Struct, frozen=True):
    """The outputs of one request in order, and how it ended; a failed request has fewer."""

    outputs: Sequence[Any]
    end: Finish | Failed


class AsyncPooling(Generic[E]):
    """An engine for one request on one event loop."""

    def __init__(self, engine: E, calls: EngineCalls | None = None) -> None:
        """Run blocking calls with *calls*; by default on threads of this object's own."""
        self._engine = engine
        self._calls = calls or EngineCalls()
        self._loop = asyncio.get_running_loop()
        self._long = long_text(engine)
        self._settle: Callable[[Finish | Failed], None] = lambda _: None

    def fail(self, error: BackendError) -> None:
        """End the present request with *error*, because the engine is dead or hangs."""
        self._settle(Failed(error))

    def stats(self) -> EngineStats:
        """Return the engine's snapshot."""
        return self._engine.stats()

    async def _off_loop(self, tokenize: Callable[[], Any], characters: int) -> Any:
        """Return what *tokenize* returns; a long text is tokenized on a thread."""
        if characters < self._long:
            return tokenize()
        return await self._calls.run(tokenize, tokens_in(characters))

    async def _outputs(
        self,
        submit: Callable[[Callable[[Any], None]], Ticket],
        *,
        started: Callable[[], object],
    ) -> Pooled:
        """Return the outputs of what *submit* queues, which is called with an `emit`.

        Raises what *submit* raises. Cancelling it cancels the request.
        """
        outputs: list[Output] = []
        end: asyncio.Future[Finish | Failed] = self._loop.create_future()

        def settle(event: Finish | Failed) -> None:
            if not end.done():  # it is done if the caller was cancelled
                end.set_result(event)

        self._settle = settle

        def emit(event: Output | Started | Finish | Failed) -> None:
            """Run on the engine's thread; wakes the loop twice, not for each output."""
            match event:
                case Embedded() | Scored():
                    outputs.append(event)
                case Started():
                    self._call(started)
                case Finish() | Failed():
                    self._call(settle, event)

        ticket = submit(emit)
        try:
            return Pooled(outputs, await end)
        finally:
            ticket.cancel()

    def _call(self, function: Callable[..., object], *given: Finish | Failed) -> None:
        # Raises if the loop is closed; then nothing awaits the result either.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *given)


class AsyncEmbedder(AsyncPooling[EmbeddingEngine]):
    """An embedding engine for one request on one event loop."""

    async def tokenize(self, inputs: Sequence[str | Sequence[int]]) -> list[Sequence[int]]:
        """Return each input's token ids; inputs of token ids stay as they are."""

        def tokenize() -> list[Sequence[int]]:
            of_text = self._engine.tokenize_input
            return [of_text(one) if isinstance(one, str) else one for one in inputs]

        size = sum(len(one) for one in inputs if isinstance(one, str))
        tokens: list[Sequence[int]] = await self._off_loop(tokenize, size)
        return tokens

    async def embed(
        self, inputs: Sequence[Sequence[int]], *, started: Callable[[], object]
    ) -> "tuple[list[array[float]], Finish | Failed]":
        """Return the vectors of *inputs*; calls *started* when the request leaves the queue.

        Raises what `EmbeddingEngine.embed` raises. Cancelling it cancels the request.
        """
        pooled = await self._outputs(lambda emit: self._engine.embed(inputs, emit), started=started)
        return [one.vector for one in pooled.outputs], pooled.end


class AsyncRanker(AsyncPooling[RankingEngine]):
    """A ranking engine for one request on one event loop."""

    async def tokenize(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*."""
        size = sum(len(query) + len(one) for one in documents)
        pairs: TokenizedPairs = await self._off_loop(
            lambda: self._engine.tokenize_pairs(query, documents), size
        )
        return pairs

    async def rank(
        self, pairs: Sequence[Sequence[int]], *, started: Callable[[], object]
    ) -> tuple[list[float], Finish | Failed]:
        """Return the scores of *pairs*; calls *started* when the request leaves the queue.

        Raises what `RankingEngine.rank` raises. Cancelling it cancels the request.
        """
        pooled = await self._outputs(lambda emit: self._engine.rank(pairs, emit), started=started)
        return [one.score for one in pooled.outputs], pooled.end

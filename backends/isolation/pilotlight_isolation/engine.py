"""Engines that run in another process."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend.errors import InvalidParameter
from pilotlight_backend.guide import ForcingGuide, Vocabulary
from pilotlight_backend.image import Image
from pilotlight_backend.protocols import Ticket
from pilotlight_backend.types import (
    BakedPrompt,
    EmbedEvent,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    LoadOptions,
    ModelFacts,
    RankEvent,
    TokenizedPairs,
)
from pilotlight_backend.validation import NO_IMAGES, check_inputs, check_request
from pilotlight_backend.verbatim import Span
from pilotlight_isolation import wire
from pilotlight_isolation.channel import MAX_FRAME
from pilotlight_isolation.client import EngineClient
from pilotlight_isolation.process import EngineProcess
from pilotlight_isolation.sent_images import without_images

_ANY_TOKEN = 2**31
"""The vocabulary's size where the engine reports none: then it refuses unknown tokens itself."""


_BYTES_PER_TOKEN = 4
"""About as many bytes of a text become a token."""


_MOST_PIXEL_BYTES = MAX_FRAME // 2


def _at_least(_image: Image) -> int:
    """Return the fewest tokens that an image takes."""
    return 1


def _check_size(images: Iterable[Image]) -> None:
    """Raise `InvalidParameter` for images that take too much memory on their way."""
    size = sum(len(image.rgb) for image in images)
    if size > _MOST_PIXEL_BYTES:
        raise InvalidParameter(
            "prompt",
            f"the images of a prompt have {size // 3} pixels, and may have"
            f" {_MOST_PIXEL_BYTES // 3}: send fewer or smaller ones",
        )


def _tokens_in(data: bytes) -> int:
    """Estimate the tokens of a text."""
    return len(data) // _BYTES_PER_TOKEN


class IsolatedBase:
    """What all kinds share. `submit`, `embed`, `rank` and `stats` never wait for the process."""

    def __init__(self, process: EngineProcess, name: str, loaded: wire.Loaded) -> None:
        self._facts = loaded.facts
        self._client = EngineClient(process, name, loaded.snapshot)
        self._vocabulary_size = loaded.facts.vocabulary_size or _ANY_TOKEN
        self._adapters: Counter[str] = Counter()
        """How often each adapter was loaded there, and not unloaded since."""
        self._counting = threading.Lock()
        """Guards the counts."""

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""
        return self._facts

    @property
    def pid(self) -> int:
        """The id of the engine's process."""
        return self._client.pid

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*; see `BaseEngine.tokenize`."""
        data = text.encode("utf-8", "surrogatepass")
        ids: list[int] = self._client.call(
            lambda number: wire.Tokenize(number, data, special, tuple(verbatim)), _tokens_in(data)
        )
        return ids

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._client.stats()

    def close(self) -> None:
        """End every request and the process, which frees all its memory."""
        self._client.close()

    def kill(self, reason: str) -> None:
        """Kill the process; its requests end with `InferenceFailed(reason)`."""
        self._client.kill(reason)


class IsolatedEngine(IsolatedBase):
    """An `Engine`."""

    def vocabulary(self) -> Vocabulary:
        """Return every token."""
        vocabulary: Vocabulary = self._client.call(wire.GetVocabulary)
        return vocabulary

    def image_tokens(self, width: int, height: int) -> int:
        """Return how many tokens an image of that size takes; see `SeeingEngine`."""
        if not self._facts.sees:
            raise InvalidParameter("prompt", NO_IMAGES)
        count: int = self._client.call(lambda number: wire.CountImage(number, width, height))
        return count

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* and the guide are called on the client's thread.

        A refusal that `check_request` does not cover arrives as a `Failed`.
        """
        check_request(
            request,
            context_length=self._facts.context_length,
            vocabulary_size=self._vocabulary_size,
            sampling=self._facts.sampling,
            adapters=self._adapters,
            # The child knows what an image takes; to ask it here would be to wait.
            image_tokens=_at_least if self._facts.sees else None,
        )
        guide = request.guide
        sent, images = without_images(replace(request, guide=None))
        _check_size(images)
        return self._client.submit(
            lambda number: wire.Submit(
                number,
                sent,
                guided=guide is not None,
                forces=isinstance(guide, ForcingGuide),
                images=tuple(image.digest for image in images),
            ),
            emit,
            guide,
            images,
        )

    def load_adapter(self, path: Path) -> str:
        """Load an adapter, if the engine has any; see `AdaptingEngine.load_adapter`."""
        adapter: str = self._client.call(lambda number: wire.LoadAdapter(number, path))
        with self._counting:
            self._adapters[adapter] += 1
        return adapter

    def unload_adapter(self, adapter: str) -> None:
        """Undo a load; see `AdaptingEngine.unload_adapter`."""
        with self._counting:
            self._adapters[adapter] -= 1
            self._adapters += Counter()  # drops what is not above 0
        self._client.call(lambda number: wire.UnloadAdapter(number, adapter))

    def save_prompts(self, seconds: float) -> None:
        """Write cached prompts to storage, if the engine has any; see `CachingEngine`."""
        self._client.call(lambda number: wire.SavePrompts(number, seconds))

    def clear_prompts(self, owner: str | None = None) -> None:
        """Forget cached prompts, if the engine has any; see `CachingEngine`."""
        # It waits for the running step: it counts as hanging when that does.
        self._client.call(lambda number: wire.ClearPrompts(number, owner), LoadOptions().chunk)


class IsolatedBakingEngine(IsolatedEngine):
    """A `BakingEngine`."""

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Evaluate *prompt* and write its state; see `BakingEngine.bake`."""
        count: int = self._client.call(lambda number: wire.Bake(number, prompt, baked), len(prompt))
        return count


class IsolatedEmbeddingEngine(IsolatedBase):
    """An `EmbeddingEngine`."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text* as an input."""
        data = text.encode("utf-8", "surrogatepass")
        ids: list[int] = self._client.call(
            lambda number: wire.TokenizeInput(number, data), _tokens_in(data)
        )
        return ids

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*; *emit* is called on the client's thread."""
        check_inputs(
            inputs,
            context_length=self._facts.context_length,
            vocabulary_size=self._vocabulary_size,
        )
        sent = tuple(map(tuple, inputs))
        return self._client.submit(lambda number: wire.Embed(number, sent), emit)


class IsolatedRankingEngine(IsolatedBase):
    """A `RankingEngine`."""

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*."""
        asked, *given = [text.encode("utf-8", "surrogatepass") for text in (query, *documents)]
        size = len(asked) * len(given) + sum(map(len, given))
        pairs: TokenizedPairs = self._client.call(
            lambda number: wire.TokenizePairs(number, asked, given), size // _BYTES_PER_TOKEN
        )
        return pairs

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        """Queue *pairs*; *emit* is called on the client's thread."""
        check_inputs(
            pairs,
            context_length=self._facts.context_length,
            vocabulary_size=self._vocabulary_size,
        )
        sent = tuple(map(tuple, pairs))
        return self._client.submit(lambda number: wire.Rank(number, sent), emit)


ENGINES: dict[wire.Kind, type[IsolatedBase]] = {
    "generates": IsolatedEngine,
    "bakes": IsolatedBakingEngine,
    "embeds": IsolatedEmbeddingEngine,
    "ranks": IsolatedRankingEngine,
}

"""A request as the scheduler sees it, and how far it has come. Pure."""

from array import array
from typing import TYPE_CHECKING

from pilotlight_backend import Adapter
from pilotlight_backend.adapters import cache_scope
from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp import drafting
from pilotlight_llama_cpp.batch import Tokens
from pilotlight_llama_cpp.media import PatchSpan, cells, floor
from pilotlight_llama_cpp.slots import Displaced, Offer, Slot

if TYPE_CHECKING:
    from pilotlight_backend.prompt_cache import Found


class Sequence:
    """A request as the scheduler sees it: prefilled in chunks, then decoded token by token."""

    __slots__ = (
        "adapters",
        "branches",
        "cached_tokens",
        "completion_tokens",
        "displaced",
        "drafter",
        "encoded",
        "fetching",
        "image_rows",
        "limit",
        "looked_at",
        "most",
        "offer",
        "pending",
        "prompt",
        "scope",
        "shares_prompt",
        "slot",
        "spans",
        "stored",
    )

    def __init__(
        self,
        prompt: tuple[int, ...],
        limit: int,
        *,
        spans: tuple[PatchSpan, ...] = (),
        shares_prompt: bool = False,
        scope: str = "",
        adapters: tuple[Adapter, ...] = (),
        branches: tuple[int, ...] = (),
        drafter: drafting.Drafter | None = None,
    ) -> None:
        """*adapters* are those that have an effect, in their order."""
        self.prompt = prompt
        """A number for each position: `media` says which ones an image has."""
        self.spans = spans
        """The images in the prompt, in order."""
        self.most = floor(spans, len(prompt) - 1)
        """What of the prompt can be cached: its last token is evaluated for its logits."""
        self.encoded: dict[bytes, list[array[float]]] = {}
        """The vectors of images, by digest, as far as they are encoded."""
        self.image_rows = 0
        """Rows of the image behind what the slot holds that are evaluated already."""
        self.shares_prompt = shares_prompt
        """Whether it waits for another sequence that prefills this prompt, and copies that."""
        self.adapters = adapters
        self.scope = cache_scope(scope, adapters)
        """Whose tokens it may use: those of its scope, and without adapters the baked prompt's."""
        self.branches = branches
        """Lengths of the prompt, rising, at which a checkpoint is taken: later prompts may part."""
        self.drafter = drafter
        """What drafts its tokens; None: each one is sampled in a step of its own."""
        self.limit = limit
        """Tokens that may be sampled: those of the request, or the rest of the context."""
        self.slot: Slot | None = None
        self.cached_tokens = 0
        self.offer = Offer(0)
        """Where the cached tokens come from."""
        self.stored: Found | None = None
        """What the prompt cache has of the prompt."""
        self.looked_at: float | None = None
        """When the prompt cache was asked."""
        self.fetching = False
        """Whether that is being read from storage."""
        self.displaced: Displaced | None = None
        """What its slot held that is nowhere else, for the prompt cache."""
        self.completion_tokens = 0
        self.pending: tuple[int, ...] | None = None
        """The tokens that are decoded next: the one that was sampled last, and those that must come
        behind it; None during prefill."""

    def cells(self, position: int) -> int:
        """Return the cells that the prompt takes up to *position*, and what follows it."""
        return cells(self.spans, position) if self.spans else position

    @property
    def length(self) -> int:
        """The prompt's tokens, an image's rows included."""
        return self.cells(len(self.prompt))

    @property
    def held(self) -> list[int]:
        """What its slot holds."""
        if self.slot is None:
            raise AssertionError("an active sequence has a slot")
        return self.slot.held

    @property
    def next_image(self) -> PatchSpan | None:
        """The first image of the prompt that the slot does not hold."""
        if not self.spans:
            return None
        held = len(self.held)
        return next((span for span in self.spans if span.start >= held), None)

    @property
    def is_waiting(self) -> bool:
        """Whether what it needs next is an image that is being encoded."""
        span = self.next_image
        return (
            span is not None
            and span.start == len(self.held)
            and span.image.digest not in self.encoded
        )

    # ── what a step has done ───────────────────────────────────────────────────────────────────

    def evaluated(self, tokens: Tokens) -> None:
        """Record that the slot holds *tokens* more; a draft's only once they are `confirmed`."""
        self.held.extend(tokens)
        if self.pending is not None:
            self.pending = self.pending[len(tokens) :]

    def confirmed(self, draft: Tokens) -> int:
        """Record that the slot holds the pending tokens that *draft* has; return how many."""
        pending = self.pending or ()
        count = common_prefix(pending, draft)
        self.held.extend(pending[:count])
        self.pending = pending[count:]
        return count

    def chosen(self, token: int) -> None:
        """Record its next token, which was sampled or must come."""
        self.pending = (*(self.pending or ()), token)
        self.completion_tokens += 1

    # ── drafts ─────────────────────────────────────────────────────────────────────────────────

    def draft(self, most: int) -> drafting.Offer | None:
        """Return at most *most* tokens that may come behind the pending ones."""
        if self.drafter is None or self.slot is None or self.pending is None:
            return None
        offer = self.drafter.offer(self.slot.held, self.pending, self.most_drafted(most))
        if offer is None or not (tokens := self.possible(offer.tokens)):
            return None
        return offer._replace(tokens=tokens)

    def most_drafted(self, most: int) -> int:
        """Return how many tokens may be drafted, *most* at the most.

        One more is sampled behind the last one that is accepted.
        """
        return min(most, self.limit - self.completion_tokens - 1)

    def possible(self, tokens: Tokens) -> Tokens:
        """Return the first of *tokens* that may be sampled, all of them if nothing is known."""
        return tokens

"""What a sequence can evaluate next: pending tokens, a chunk of its prompt, an image. Pure."""

from collections.abc import Sequence as Items
from typing import Generic, NamedTuple, TypeVar

from pilotlight_llama_cpp.batch import Tokens
from pilotlight_llama_cpp.drafting import Draft
from pilotlight_llama_cpp.media import ImageRows, PatchSpan
from pilotlight_llama_cpp.planning import Batching
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.slots import Slot
from pilotlight_llama_cpp.ubatches import Part

S = TypeVar("S", bound=Sequence)


class PlannedRun(NamedTuple, Generic[S]):
    """Tokens of one sequence in a batch.

    *sampled* if a token is sampled behind them; *draft* are the last of the tokens, each of which
    is sampled as well.
    """

    sequence: S
    slot: int
    start: int
    tokens: Tokens
    sampled: bool
    image: ImageRows | None = None
    """Rows of an image that are evaluated; *tokens* are its numbers once all are, and none before.
    A batch has either images or tokens."""
    draft: Draft = Draft()

    @property
    def size(self) -> int:
        """The batch's rows."""
        return len(self.tokens) if self.image is None else self.image.rows

    @property
    def reach(self) -> int:
        """The cells that the slot takes afterwards."""
        before = self.sequence.cells(self.start)
        return before + (0 if self.image is None else self.image.first) + self.size

    @property
    def outputs(self) -> int:
        """How many of the last tokens' logits are wanted."""
        return self.draft.length + self.sampled

    @property
    def certain(self) -> Tokens:
        """The tokens without the draft."""
        return self.tokens[: len(self.tokens) - self.draft.length]

    @property
    def drafted(self) -> Tokens:
        """The tokens of the draft."""
        return self.tokens[len(self.certain) :]

    def without_draft(self) -> "PlannedRun[S]":
        """Return the run with its certain tokens alone."""
        return self._replace(tokens=self.certain, draft=Draft())

    def with_draft(self, tokens: Tokens, draft: Draft) -> "PlannedRun[S]":
        """Return the run with *tokens* behind its own, which are *draft*."""
        return self._replace(tokens=(*self.tokens, *tokens), draft=draft)

    def record(self) -> None:
        """Record in the sequence that it is evaluated."""
        if self.image is not None:
            last = self.image.first + self.image.rows
            self.sequence.image_rows = 0 if self.tokens else last
        self.sequence.evaluated(self.certain)


def parts(runs: Items[PlannedRun[S]]) -> list[Part]:
    """Return the batch of *runs*, as its cost is computed."""
    return [Part(run.slot, run.size) for run in runs]


def decodes(sequences: Items[S], batching: Batching) -> list[PlannedRun[S]]:
    """Return the pending tokens of *sequences*, as far as a chunk has room for forced ones.

    If they are deterministic it is one token each: the ubatches of a longer run depend on the
    others in the batch.
    """
    room = 0 if batching.deterministic else batching.chunk
    runs: list[PlannedRun[S]] = []
    for sequence in sequences:
        slot, pending = _slot(sequence), sequence.pending or ()
        tokens = pending[: 1 + room]
        room -= len(tokens) - 1
        sampled = len(tokens) == len(pending)
        runs.append(PlannedRun(sequence, slot.id, len(slot.held), tokens, sampled=sampled))
    return runs


def prefill(sequence: S, batching: Batching, *, whole_images: bool) -> PlannedRun[S]:
    """Return the next chunk of a prompt, which also ends where a checkpoint is taken.

    If it is deterministic it ends where it would end without a cached prefix, so that all later
    chunks are the same and round alike. *whole_images*: an image is evaluated in one batch.
    """
    slot = _slot(sequence)
    start, whole = len(slot.held), batching.chunk
    if not batching.deterministic:
        whole = max(1, whole // batching.slowdown)
    image = sequence.next_image
    if image is not None and image.start == start:
        return _image(sequence, image, most=None if whole_images else whole)
    if batching.deterministic:
        whole -= start % whole
    end = min(start + whole, len(sequence.prompt))
    end = next((one for one in sequence.branches if start < one < end), end)
    if image is not None:
        end = min(end, image.start)
    return PlannedRun(
        sequence,
        slot.id,
        start,
        sequence.prompt[start:end],
        sampled=end == len(sequence.prompt),
    )


def _image(sequence: S, span: PatchSpan, *, most: int | None) -> PlannedRun[S]:
    """Return the next rows of an image, at most so many."""
    rows, first = span.patch.rows, sequence.image_rows
    last = rows if most is None else min(rows, first + most)
    vectors = sequence.encoded[span.image.digest][span.number]
    return PlannedRun(
        sequence,
        _slot(sequence).id,
        span.start,
        sequence.prompt[span.start : span.end] if last == rows else (),
        sampled=last == rows and span.end == len(sequence.prompt),
        image=ImageRows(vectors, span.patch, first, last - first),
    )


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise AssertionError("an active sequence has a slot")
    return sequence.slot

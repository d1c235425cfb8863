"""What is evaluated in the next step. Pure: no clock, no native call, no thread.

`slots` says which slot a sequence gets; here is who gets one, and what goes into a batch.
"""

import sys
from collections import deque
from collections.abc import Sequence as Items
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp import planning
from pilotlight_llama_cpp.batch import Tokens
from pilotlight_llama_cpp.drafting import Draft, Drafting
from pilotlight_llama_cpp.media import ImageRows, PatchSpan
from pilotlight_llama_cpp.planning import Batching
from pilotlight_llama_cpp.slots import Displaced, Prefixes, Sequence, Slot
from pilotlight_llama_cpp.turns import Turns
from pilotlight_llama_cpp.ubatches import Part

_WORTH_SAVING = 64
"""Tokens that are lost with a slot for which its state is saved first."""

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

    def without_draft(self) -> "PlannedRun[S]":
        """Return the run with its certain tokens alone."""
        return self._replace(tokens=self.certain, draft=Draft())


class _Group(NamedTuple, Generic[S]):
    """What sequences with the same adapters can evaluate in a step."""

    streams: list[PlannedRun[S]]
    prompts: list[PlannedRun[S]]

    def fitting(self, room: int) -> "_Group[S]":
        """Return the part that a slot has *room* for."""
        return _Group(
            [run for run in self.streams if _fits(run, room)],
            [run for run in self.prompts if _fits(run, room)],
        )


class Scheduler(Generic[S]):
    """Gives slots to sequences in the order of the queue, and plans the batch of each step."""

    def __init__(
        self,
        *,
        slots: int,
        chunk: int,
        baked: tuple[int, ...] = (),
        copies: bool = False,
        cuts: bool = True,
        deterministic: bool = False,
        unified: bool = False,
        whole_images: bool = False,
        draft_max: int = 0,
    ) -> None:
        """*chunk* is the prompt tokens for which running streams wait at the most.

        *baked* is the prompt that the first slot holds from the start. *unified*: all slots share
        one KV cache. *draft_max* is the drafted tokens of a step.

        *cuts*: a slot can be truncated to any length. *copies*: it can also be copied to another
        slot, and the copy truncated. *whole_images*: an image is evaluated in one batch.
        """
        self._whole_images = whole_images
        self.slots = tuple(Slot(slot_id) for slot_id in range(slots))
        self.slots[0].held.extend(baked)
        self.slots[0].prompted = len(baked)
        self.queue: deque[S] = deque()
        self.active: list[S] = []
        """The sequences that have a slot, in the order they got it."""
        self.waiting: list[S] = []
        """Sequences with a reserved slot, any one, until their shared prompt is prefilled."""
        self._copies = copies
        self._prefixes = Prefixes(self.slots, baked=baked, copies=copies, cuts=cuts)
        self._sources: set[int] = set()
        """Slots that are copied at the start of the next step, and must not change before it."""
        self._batching = Batching(chunk, chunk + slots, unified, deterministic)
        self._drafting = Drafting(self._batching, draft_max) if draft_max else None
        self._turns: Turns[object] = Turns()
        self._uses = 0

    def enqueue(self, sequence: S) -> None:
        """Put *sequence* at the end of the queue."""
        self.queue.append(sequence)

    @property
    def has_work(self) -> bool:
        """Whether a step can be taken: someone has a slot, or can get one."""
        return bool(
            self._is_stepping
            or (self.queue and self.taken < len(self.slots))
            or not all(
                sequence.fetching or self.is_fetched_for_another(sequence)
                for sequence in self.waiting
            )
        )

    @property
    def _is_stepping(self) -> bool:
        """Whether a sequence that has a slot can be evaluated."""
        return any(not self.is_waiting(sequence) for sequence in self.active)

    def held(self, sequence: S) -> int:
        """Return how much of the prompt need not be evaluated, without the prompt cache."""
        return self._prefixes.held(sequence)

    @property
    def taken(self) -> int:
        """How many slots are busy or reserved."""
        return len(self.active) + len(self.waiting)

    def admit(self, room: int = sys.maxsize) -> list[S]:
        """Give idle slots to the head of the queue; return the sequences that start.

        *room* is the tokens that a slot can hold now. Running streams do not wait for the longer
        context that a cached state needs: its sequence waits.

        Sequences that share a prompt wait in a reserved slot until its prefill ends. If the
        sequence that prefills it ends before, the first of them continues it. A slot that is the
        source of a pending copy is not given away before the step that makes the copy.
        """
        admitted: list[S] = []
        for sequence in tuple(self.reserve()):
            if sequence.fetching or self._is_being_read(sequence):
                continue
            slot, offer, lost = self._prefixes.choose(sequence, self._uses)
            if slot.id in self._sources:
                break  # later sequences do not overtake it
            if self._is_stepping and offer.source == "cache" and _stored(sequence) >= room:
                continue
            self.waiting.remove(sequence)
            sequence.offer = offer
            self._give(sequence, slot, lost)
            admitted.append(sequence)
        return admitted

    def reserve(self) -> list[S]:
        """Keep slots for the first in the queue, as far as there are; return those who wait now."""
        while self.queue and self.taken < len(self.slots):
            self.waiting.append(self.queue.popleft())
        return self.waiting

    def _is_being_read(self, sequence: S) -> bool:
        """Return whether another sequence gets the prompt that *sequence* shares into its slot."""
        if not (self._copies and sequence.shares_prompt):
            return False
        needed = sequence.most
        return self.is_fetched_for_another(sequence) or any(
            len(_slot(other).held) < needed
            and other.prompt == sequence.prompt
            and other.adapters == sequence.adapters
            for other in self.active
        )

    def is_fetched_for_another(self, sequence: S) -> bool:
        """Return whether the prompt that *sequence* shares is being read from storage."""
        return (self._copies and sequence.shares_prompt) and any(
            other.fetching
            and other.prompt == sequence.prompt
            and other.scope == sequence.scope
            and other.adapters == sequence.adapters
            for other in self.waiting
            if other is not sequence
        )

    def _give(self, sequence: S, slot: Slot, lost: int) -> None:
        offer = sequence.offer
        kept = slot if offer.copied_from is None else self.slots[offer.copied_from]
        if kept is not slot:
            self._sources.add(kept.id)
        sequence.displaced = None
        if lost >= _WORTH_SAVING:
            sequence.displaced = Displaced(
                slot.scope,
                tuple(slot.held),
                tuple(slot.checkpoints),
                self._uses - slot.last_used,
            )
        slot.least = _least(sequence, kept)
        slot.checkpoints = (
            [one for one in kept.checkpoints if one.tokens <= offer.tokens]
            if offer.source in {"slot", "copy"}
            else []
        )
        sequence.cached_tokens = offer.tokens
        slot.held[:] = sequence.prompt[: offer.tokens]
        slot.scope, slot.adapters = sequence.scope, sequence.adapters
        slot.prompted = len(sequence.prompt)
        slot.sequence, sequence.slot = sequence, slot
        self.active.append(sequence)

    def plan(self, room: int = sys.maxsize) -> list[PlannedRun[S]]:
        """Return the next batch: a token of each sequence that decodes, or prompts, or both.

        *room* is the tokens that a slot can hold now. What needs more waits until a longer context
        is made, as long as there is something else to evaluate.

        `planning` decides which, and `turns` whose, since all sequences of a batch have the same
        adapters. Runs are sorted by slot: llama.cpp computes neighbours together (`ubatches`).
        Eight streams in another order took twice as long.
        """
        self._sources.clear()
        groups = self._groups(room)
        streaming = [key for key, group in groups.items() if group.streams]
        for key in self._turns.order(groups):
            streams = groups[key].streams
            prompts, batching = self._of_one_kind(groups[key].prompts)
            if not (streams or prompts):
                continue
            waited = self._turns.waited(key)
            step = planning.plan(_parts(streams), _parts(prompts), batching, waited=waited)
            chosen = prompts[: step.prompts]
            tokens = sum(run.size for run in chosen)
            if tokens and any(
                self._turns.waited(other) + tokens > self._batching.chunk
                for other in streaming
                if other != key
            ):
                continue  # their turn comes first, in this loop
            if step.decodes and not chosen:
                streams = self._with_drafts(streams, room)
            self._turns.took(key, tokens=tokens, decodes=step.decodes, streaming=streaming)
            return sorted([*(streams if step.decodes else ()), *chosen], key=attrgetter("slot"))
        return []

    def _groups(self, room: int) -> dict[object, _Group[S]]:
        """Return what there is to evaluate, by what the sequences of a step have in common."""
        members: dict[object, list[S]] = {}
        for sequence in self.active:
            members.setdefault(self._group(sequence), []).append(sequence)
        groups = {
            key: _Group(
                self._decodes([one for one in group if one.pending is not None]),
                [
                    self._prefill(one)
                    for one in group
                    if one.pending is None and not self.is_waiting(one)
                ],
            )
            for key, group in members.items()
        }
        fitting = {key: group.fitting(room) for key, group in groups.items()}
        fitting = {key: group for key, group in fitting.items() if any(group)}
        return fitting or groups

    def _of_one_kind(self, prompts: list[PlannedRun[S]]) -> tuple[list[PlannedRun[S]], Batching]:
        """Return those of *prompts* that can be in one batch with the first, and how it is made.

        Vectors of images and tokens never are. An image is evaluated alone.
        """
        if not prompts or prompts[0].image is None:
            return [run for run in prompts if run.image is None], self._batching
        return prompts[:1], self._batching._replace(deterministic=True)

    def _group(self, sequence: S) -> object:
        """Return what sequences that may share a step have in common.

        A deterministic one with adapters is computed alone: their matrices are F16 or F32, whose
        kernels round differently by the number of rows.
        """
        if self._batching.deterministic and sequence.adapters:
            return sequence
        return sequence.adapters

    def _decodes(self, sequences: Items[S]) -> list[PlannedRun[S]]:
        """Return the pending tokens of streams, as far as a chunk has room for forced ones.

        If they are deterministic it is one token each: the ubatches of a longer run depend on the
        others in the batch.
        """
        room = 0 if self._batching.deterministic else self._batching.chunk
        runs: list[PlannedRun[S]] = []
        for sequence in sequences:
            slot, pending = _slot(sequence), sequence.pending or ()
            tokens = pending[: 1 + room]
            room -= len(tokens) - 1
            sampled = len(tokens) == len(pending)
            runs.append(PlannedRun(sequence, slot.id, len(slot.held), tokens, sampled=sampled))
        return runs

    def _with_drafts(self, streams: list[PlannedRun[S]], room: int) -> list[PlannedRun[S]]:
        """Return *streams* with the drafts that are worth their rows; slots have *room*."""
        if self._drafting is None:
            return streams
        streams = sorted(streams, key=attrgetter("slot"))
        parts = _parts(streams)
        most = self._drafting.room(parts)
        offers = [
            run.sequence.draft(min(most, room - run.reach)) if run.sampled else None
            for run in streams
        ]
        if not any(offers):
            return streams
        return [
            run
            if offer is None or not draft.length
            else run._replace(tokens=(*run.tokens, *offer.tokens[: draft.length]), draft=draft)
            for run, offer, draft in zip(
                streams, offers, self._drafting.choose(parts, offers), strict=True
            )
        ]

    def measured(self, runs: Items[PlannedRun[S]], seconds: float) -> None:
        """Learn how long a step of *runs* took."""
        if self._drafting is not None and all(run.sequence.pending is not None for run in runs):
            self._drafting.measured(_parts(runs), seconds)

    def _prefill(self, sequence: S) -> PlannedRun[S]:
        """Return the next chunk of a prompt, which also ends where a checkpoint is taken.

        If it is deterministic it ends where it would end without a cached prefix, so that all later
        chunks are the same and round alike.
        """
        slot = _slot(sequence)
        start, whole = len(slot.held), self._batching.chunk
        image = _next_image(sequence)
        if image is not None and image.start == start:
            return self._image(sequence, image)
        if self._batching.deterministic:
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

    def _image(self, sequence: S, span: PatchSpan) -> PlannedRun[S]:
        """Return the next rows of an image, at the most a chunk of them."""
        rows, first = span.patch.rows, sequence.image_rows
        last = rows if self._whole_images else min(rows, first + self._batching.chunk)
        vectors = sequence.encoded[span.image.digest][span.number]
        return PlannedRun(
            sequence,
            _slot(sequence).id,
            span.start,
            sequence.prompt[span.start : span.end] if last == rows else (),
            sampled=last == rows and span.end == len(sequence.prompt),
            image=ImageRows(vectors, span.patch, first, last - first),
        )

    def is_waiting(self, sequence: S) -> bool:
        """Return whether the next that *sequence* needs is an image that is being encoded."""
        span = _next_image(sequence)
        return (
            span is not None
            and span.start == len(_slot(sequence).held)
            and span.image.digest not in sequence.encoded
        )

    def evaluated(self, run: PlannedRun[S]) -> None:
        """Record that the cache now holds *run*; its draft is left out until it is `confirmed`."""
        sequence = run.sequence
        if run.image is not None:
            sequence.image_rows = 0 if run.tokens else run.image.first + run.image.rows
        _slot(sequence).held.extend(run.certain)
        if sequence.pending is not None:
            sequence.pending = sequence.pending[len(run.certain) :]

    def confirmed(self, sequence: S, draft: Tokens) -> int:
        """Record that the cache holds the pending tokens that *draft* has; return how many."""
        pending = sequence.pending or ()
        count = common_prefix(pending, draft)
        _slot(sequence).held.extend(pending[:count])
        sequence.pending = pending[count:]
        return count

    def chosen(self, sequence: S, token: int) -> None:
        """Record the next token of *sequence*, which was sampled or must come."""
        sequence.pending = (*(sequence.pending or ()), token)
        sequence.completion_tokens += 1

    def release(self, sequence: S) -> None:
        """Take *sequence* out of its slot or the queue; the slot keeps its tokens for reuse."""
        slot = sequence.slot
        if slot is None:
            (self.waiting if sequence in self.waiting else self.queue).remove(sequence)
            return
        self._uses += 1
        slot.last_used = self._uses
        slot.sequence = sequence.slot = None
        self.active.remove(sequence)

    def forget(self, slot: Slot) -> None:
        """Record that *slot* is empty; its sequence, if any, prefills from the start."""
        slot.held.clear()
        slot.least = 0
        slot.checkpoints = []
        slot.prompted = 0
        if slot.sequence is not None:
            slot.sequence.cached_tokens = 0

    def idle_holders(self) -> list[Slot]:
        """Return the idle slots that hold tokens."""
        return [slot for slot in self.slots if slot.sequence is None and slot.held]


def _least(sequence: Sequence, kept: Slot) -> int:
    """Return the fewest tokens that a slot can be cut back to once it has what is offered."""
    offer = sequence.offer
    if offer.checkpoint is not None:
        return offer.tokens
    if offer.source == "cache" and sequence.stored is not None:
        return 0 if sequence.stored.entry.least <= 1 else offer.tokens
    return 0 if offer.source == "baked" else min(kept.least, offer.tokens)


def _parts(runs: Items[PlannedRun[S]]) -> list[Part]:
    return [Part(run.slot, run.size) for run in runs]


def _next_image(sequence: Sequence) -> PatchSpan | None:
    """Return the first image of the prompt that the slot does not hold."""
    held = len(_slot(sequence).held) if sequence.spans else 0
    return next((span for span in sequence.spans if span.start >= held), None)


def _fits(run: PlannedRun[S], room: int) -> bool:
    return run.reach <= room


def _stored(sequence: Sequence) -> int:
    """Return how many tokens the state has that the prompt cache found; 0 without one."""
    return 0 if sequence.stored is None else len(sequence.stored.entry)


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise AssertionError("an active sequence has a slot")
    return sequence.slot

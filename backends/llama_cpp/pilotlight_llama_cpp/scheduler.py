"""What is evaluated in the next step. Pure: no clock, no native call, no thread.

`admission` says who has a slot and `runs` what each can evaluate next; here is what goes into a
batch.
"""

import sys
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pilotlight_llama_cpp import planning, runs
from pilotlight_llama_cpp.admission import Admission
from pilotlight_llama_cpp.planning import Batching
from pilotlight_llama_cpp.runs import PlannedRun, parts
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.turns import Turns

S = TypeVar("S", bound=Sequence)


class _Group(NamedTuple, Generic[S]):
    """What sequences with the same adapters can evaluate in a step."""

    streams: list[PlannedRun[S]]
    prompts: list[PlannedRun[S]]

    def fitting(self, room: int) -> "_Group[S]":
        """Return the part that a slot has *room* for."""
        return _Group(
            [run for run in self.streams if run.reach <= room],
            [run for run in self.prompts if run.reach <= room],
        )


class Scheduler(Generic[S]):
    """Plans the batch of each step."""

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
    ) -> None:
        """*chunk* is the prompt tokens for which running streams wait at the most.

        *unified*: all slots share one KV cache. *whole_images*: an image is evaluated in one batch.
        `Admission` has the others.
        """
        self.admission: Admission[S] = Admission(slots=slots, baked=baked, copies=copies, cuts=cuts)
        self._whole_images = whole_images
        self.batching = Batching(chunk, chunk + slots, unified, deterministic)
        self._turns: Turns[object] = Turns()

    def plan(self, room: int = sys.maxsize, *, is_encoding: bool = False) -> list[PlannedRun[S]]:
        """Return the next batch: a token of each sequence that decodes, or prompts, or both.

        *room* is the tokens that a slot can hold now. What needs more waits until a longer context
        is made, as long as there is something else to evaluate. *is_encoding*: an image is encoded
        beside the batch.

        `planning` decides which, and `turns` whose, since all sequences of a batch have the same
        adapters. Runs are sorted by slot: llama.cpp computes neighbours together (`ubatches`).
        Eight streams in another order took twice as long.
        """
        if not self.admission.active:
            self.admission.copied()  # who was to copy has left
        shared = self._beside_encoding() if is_encoding else self.batching
        groups = self._groups(room, shared)
        streaming = [key for key, group in groups.items() if group.streams]
        for key in self._turns.order(groups):
            streams = groups[key].streams
            prompts, batching = self._of_one_kind(groups[key].prompts, shared)
            if not (streams or prompts):
                continue
            waited = self._turns.waited(key)
            step = planning.plan(parts(streams), parts(prompts), batching, waited=waited)
            chosen = prompts[: step.prompts]
            tokens = sum(run.size for run in chosen) * batching.slowdown
            if tokens and any(
                waits and waits + tokens > shared.chunk
                for waits in (self._turns.waited(other) for other in streaming if other != key)
            ):
                continue  # their turn comes first, in this loop
            self._turns.took(key, tokens=tokens, decodes=step.decodes, streaming=streaming)
            self.admission.copied()
            return sorted([*(streams if step.decodes else ()), *chosen], key=attrgetter("slot"))
        return []

    def _beside_encoding(self) -> Batching:
        """Return how batches are made while an image is encoded: smaller, if streams wait."""
        if all(one.pending is None for one in self.admission.active):
            return self.batching
        return self.batching._replace(slowdown=2)

    def _groups(self, room: int, batching: Batching) -> dict[object, _Group[S]]:
        """Return what there is to evaluate, by what the sequences of a step have in common."""
        members: dict[object, list[S]] = {}
        for sequence in self.admission.active:
            members.setdefault(self._group(sequence), []).append(sequence)
        groups = {
            key: _Group(
                runs.decodes([one for one in group if one.pending is not None], batching),
                [
                    runs.prefill(one, batching, whole_images=self._whole_images)
                    for one in group
                    if one.pending is None and not one.is_waiting
                ],
            )
            for key, group in members.items()
        }
        fitting = {key: group.fitting(room) for key, group in groups.items()}
        fitting = {key: group for key, group in fitting.items() if any(group)}
        return fitting or groups

    def _of_one_kind(
        self, prompts: list[PlannedRun[S]], batching: Batching
    ) -> tuple[list[PlannedRun[S]], Batching]:
        """Return those of *prompts* that can be in one batch with the first, and how it is made.

        Vectors of images and tokens never are. An image is evaluated alone.
        """
        if not prompts or prompts[0].image is None:
            return [run for run in prompts if run.image is None], batching
        return prompts[:1], batching._replace(deterministic=True)

    def _group(self, sequence: S) -> object:
        """Return what sequences that may share a step have in common.

        A deterministic one with adapters is computed alone: their matrices are F16 or F32, whose
        kernels round differently by the number of rows.
        """
        if self.batching.deterministic and sequence.adapters:
            return sequence
        return sequence.adapters

"""What follows a decode: tokens are sampled behind its rows, drafts verified, events emitted.

The engine's thread alone.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pilotlight_backend import EngineEvent, Failed, GuideFailed, InferenceFailed, Token
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.drafts import Drafts
from pilotlight_llama_cpp.engine_thread import EngineThread
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.next_tokens import next_tokens
from pilotlight_llama_cpp.runs import PlannedRun
from pilotlight_llama_cpp.slot_states import SlotStates

logger = logging.getLogger("pilotlight.llama_cpp")


@dataclass(slots=True)
class Counts:
    """What was evaluated since the start; any thread reads it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    drafts: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Completions:
    """Continues the completions of the jobs in a batch."""

    def __init__(
        self,
        thread: EngineThread[GenerationJob, EngineEvent],
        decoder: GenerationDecoder,
        slots: SlotStates,
        clock: Callable[[], float],
        drafts: Drafts[GenerationJob] | None,
    ) -> None:
        """*thread* ends jobs, and emits their events. *drafts* learns which were accepted."""
        self._drafts = drafts
        self._thread = thread
        self._decoder = decoder
        self._slots = slots
        self._clock = clock
        self.counts = Counts()

    def extend(self, runs: Sequence[PlannedRun[GenerationJob]]) -> None:
        """Record that *runs* are evaluated, as the rows of one batch, and sample behind them."""
        end = 0
        for run in runs:
            end += run.size
            row = end - run.draft.length - 1  # the last certain one, by its place in the batch
            run.record()
            if run.sequence.pending is None:
                self.counts.prompt_tokens += run.size
                self._slots.take_checkpoint(run.sequence)
            if run.sampled:
                self._sample(run, row)

    def _sample(self, run: PlannedRun[GenerationJob], row: int) -> None:
        """Sample behind *row*, and behind each row of the draft as long as that has the token."""
        job, draft = run.sequence, run.drafted
        job.drafted_tokens += len(draft)
        accepted = 0
        try:
            while self._take_next(job, row + accepted):
                count = job.confirmed(draft[accepted:])
                accepted += count
                job.accepted_tokens += count
                if job.pending or not count:
                    break
        except GuideFailed as error:  # the slot's state is intact, and stays for reuse
            logger.warning("a request failed: %s", error, exc_info=error.__cause__)
            self._thread.end(job, Failed(error))
        if draft:
            self._verified(run, accepted)

    def _take_next(self, job: GenerationJob, row: int) -> bool:
        """Take the token behind *row*, and those forced there; return whether *job* goes on."""
        return all(self._take(job, token, row) for token in next_tokens(self._decoder, job, row))

    def _verified(self, run: PlannedRun[GenerationJob], accepted: int) -> None:
        """Count a draft, and remove from the slot what was not accepted."""
        job = run.sequence
        self.counts.drafts += 1
        self.counts.drafted_tokens += run.draft.length
        self.counts.accepted_tokens += accepted
        if self._drafts is not None:
            self._drafts.verified(run, accepted)
        if accepted < run.draft.length and not self._slots.trim(run.slot) and not job.ended:
            self._thread.end(job, Failed(InferenceFailed("a refused draft cannot be removed")))

    def _take(self, job: GenerationJob, token: int, row: int) -> bool:
        """Record and emit a token of the completion; return whether *job* goes on."""
        if job.timer.first_token is None:
            job.timer.first_token = self._clock()
        job.chosen(token)
        self.counts.completion_tokens += 1
        piece, ends = self._decoder.token(token)
        if ends or token in job.stop_tokens:
            self._thread.finish(job, "stop")
            return False
        if job.logprobs is None:
            self._thread.emit(job, Token(token, piece))
        else:
            self._thread.emit(job, self._decoder.with_logprobs(token, row, job.logprobs))
        if job.completion_tokens >= job.limit:
            self._thread.finish(job, "length")
            return False
        return True

"""The tokens that follow a step: forced ones, or a sampled one and those forced behind it."""

from collections.abc import Iterator
from itertools import islice

from pilotlight_backend.spelling import LOOK_BACK
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.media import text_at_end


def next_tokens(decoder: GenerationDecoder, job: GenerationJob, row: int) -> Iterator[int]:
    """Yield what is forced, or the token that is sampled from *row* and what is forced behind it.

    The caller records each token before it takes the next one. With log probabilities it is one:
    each token needs a row of its own. Raises `GuideFailed`.
    """
    is_forced = False
    for token in _forced(decoder, job) if job.may_force else ():
        is_forced = True
        yield token
    if is_forced:
        return
    yield _sampled(decoder, job, row)
    if job.logprobs is None:
        yield from _forced(decoder, job)


def _forced(decoder: GenerationDecoder, job: GenerationJob) -> Iterator[int]:
    slot, forcing = job.slot, job.forcing
    if slot is None or forcing is None:
        return
    before = [*text_at_end(slot.held[-LOOK_BACK:]), *(job.pending or ())]
    for token in islice(forcing.take(before), None if job.logprobs is None else 1):
        decoder.accept(job.sampler, token)
        yield token


def _sampled(decoder: GenerationDecoder, job: GenerationJob, row: int) -> int:
    withheld = job.withheld()
    if job.guide is None and not withheld:
        return decoder.sample(job.sampler, row)
    return decoder.sample_guided(
        job.sampler, row, job.guide, withheld=withheld, restore=job.logprobs is not None
    )

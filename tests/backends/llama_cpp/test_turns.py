"""Steps alternate between sets of adapters, without a model."""

import itertools
import random

import pytest

from pilotlight_backend import Adapter
from pilotlight_llama_cpp.scheduler import Scheduler
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.turns import Turns

CHUNK = 64
BASE, FIRST, SECOND = (), (Adapter("1"),), (Adapter("2"),)


def prompt_of(length, *, first=0):
    return tuple(range(first, first + length))


def enqueue(scheduler, adapters, length, *, first=0, limit=100):
    sequence = Sequence(prompt_of(length, first=first), limit, adapters=adapters)
    scheduler.admission.enqueue(sequence)
    return sequence


def step(scheduler, *, is_encoding=False):
    """Pretend to evaluate a step; return its sequences, which all have the same adapters."""
    for sequence in list(scheduler.admission.active):
        if sequence.completion_tokens >= sequence.limit:
            scheduler.admission.release(sequence)
    scheduler.admission.admit()
    runs = scheduler.plan(is_encoding=is_encoding)
    assert len({run.sequence.adapters for run in runs}) <= 1
    for run in runs:
        run.record()
        if run.sampled:
            run.sequence.chosen(900)
    return [run.sequence for run in runs]


def adapters_of(steps):
    return [sequences[0].adapters for sequences in steps]


def test_streams_of_three_sets_decode_in_turn():
    """Each gets every third step, whatever the numbers of their streams are."""
    scheduler = Scheduler(slots=6, chunk=CHUNK)
    for number, adapters in enumerate([BASE, FIRST, FIRST, FIRST, SECOND, BASE]):
        enqueue(scheduler, adapters, 3, first=10 * number)
    for _ in range(6):  # their prompts
        step(scheduler)
    steps = adapters_of(step(scheduler) for _ in range(9))
    assert set(steps[:3]) == {BASE, FIRST, SECOND}
    assert steps == steps[:3] * 3


def test_whole_chunk_of_a_set_does_not_starve_while_an_image_is_encoded():
    """Streams of another set wait for half a chunk then; a deterministic one cannot be cut."""
    scheduler = Scheduler(slots=3, chunk=CHUNK, deterministic=True)
    enqueue(scheduler, BASE, 3)
    enqueue(scheduler, FIRST, 3, first=10)
    for _ in range(2):
        step(scheduler)
    long = enqueue(scheduler, FIRST, CHUNK + 9, first=100)
    for _ in range(12):
        step(scheduler, is_encoding=True)
    assert long.completion_tokens


def test_streams_of_a_set_share_its_steps():
    """All streams of one adapter decode in one batch."""
    scheduler = Scheduler(slots=4, chunk=CHUNK)
    first = [enqueue(scheduler, FIRST, 3, first=10 * number) for number in range(3)]
    other = enqueue(scheduler, BASE, 3, first=50)
    while any(one.pending is None for one in (*first, other)):
        step(scheduler)
    steps = [step(scheduler) for _ in range(2)]
    assert sorted(steps, key=len) == [[other], first]


def test_newcomers_do_not_overtake():
    """A new set waits for those that are here: new ones in each step starve no other."""
    turns = Turns()
    seen = []
    for number in range(50):
        present = ["old", *(f"new {number - back}" for back in range(3))]
        chosen = turns.order(present)[0]
        turns.took(chosen, tokens=0, decodes=True, streaming=present)
        seen.append(chosen)
    waits = [len(list(group)) for is_old, group in itertools.groupby(seen, lambda one: one == "old")
             if not is_old]  # fmt: skip
    assert max(waits) <= 3


def test_stream_waits_for_a_chunk_of_other_sets_prompts():
    """Long prompts of three adapters come at once: between two tokens there is one chunk."""
    scheduler = Scheduler(slots=4, chunk=CHUNK)
    running = enqueue(scheduler, BASE, 3, limit=10_000)
    step(scheduler)
    prompts = [
        enqueue(scheduler, (Adapter(str(number)),), 1000, first=2000 * number)
        for number in (1, 2, 3)
    ]
    waited, chunks = 0, []
    while any(one.pending is None for one in prompts):
        before = [len(one.slot.held) if one.slot else 0 for one in prompts]
        sequences = step(scheduler)
        if running in sequences:
            waited = 0
            continue
        evaluated = [len(one.slot.held) - had for one, had in zip(prompts, before, strict=True)]
        chunks.append(sequences[0].adapters)
        waited += sum(evaluated)
        assert waited <= CHUNK
    assert chunks[:6] == chunks[:3] * 2  # and the prompts' chunks alternate
    assert len(set(chunks[:3])) == 3


@pytest.mark.parametrize("seed", range(20))
def test_no_set_waits_longer_than_there_are_sets(seed):
    """Random sets, prompts and streams: a chunk of each other set comes first, no more.

    Before each of these the streams that have waited for a chunk decode: a step of each set.
    """
    random_number = random.Random(seed)  # noqa: S311 - no secret
    scheduler = Scheduler(slots=8, chunk=CHUNK)
    sets = [BASE, FIRST, SECOND, (Adapter("3"), Adapter("4"))]
    waiting = {}
    for number in range(400):
        if random_number.random() < 0.2 and len(scheduler.admission.queue) < 4:
            enqueue(
                scheduler,
                random_number.choice(sets),
                random_number.choice([2, 30, 300]),
                first=1000 * number,
                limit=random_number.choice([1, 5, 40]),
            )
        sequences = step(scheduler) if scheduler.admission.has_work else []
        if not sequences:
            continue
        present = {one.adapters for one in scheduler.admission.active}
        served = sequences[0].adapters
        # One that is gone starts again.
        waiting = {one: waiting.get(one, 0) + 1 for one in present if one != served}
        assert all(steps <= len(sets) ** 2 for steps in waiting.values())


def test_deterministic_streams_with_adapters_decode_alone():
    """The rounding of F16 and F32 matrices depends on the number of rows."""
    scheduler = Scheduler(slots=4, chunk=CHUNK, deterministic=True)
    adapted = [enqueue(scheduler, FIRST, 3, first=10 * number) for number in range(2)]
    plain = [enqueue(scheduler, BASE, 3, first=50 + 10 * number) for number in range(2)]
    while any(one.pending is None for one in (*adapted, *plain)):
        step(scheduler)
    steps = [step(scheduler) for _ in range(3)]
    assert max(steps, key=len) == plain
    assert sorted(len(one) for one in steps) == [1, 1, 2]


def test_tokens_of_another_set_are_not_offered():
    """Neither a slot of the same prompt, nor a copy of it, nor the baked prompt."""
    baked = prompt_of(70)
    scheduler = Scheduler(slots=3, chunk=CHUNK, baked=baked, copies=True)
    prompt = prompt_of(200)
    given = {}
    for adapters in (FIRST, SECOND, FIRST, BASE):
        sequence = Sequence(prompt, 1, adapters=adapters)
        scheduler.admission.enqueue(sequence)
        while not sequence.completion_tokens:
            step(scheduler)
        given.setdefault(adapters, []).append(sequence.cached_tokens)
        scheduler.admission.release(sequence)
    assert given == {FIRST: [0, 199], SECOND: [0], BASE: [70]}

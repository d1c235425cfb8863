"""The plan of each step, without a model."""

from pilotlight_llama_cpp.scheduler import Scheduler, Sequence


def prompt_of(length, *, first=0):
    return tuple(range(first, first + length))


def step(scheduler):
    """Admit, plan and pretend to evaluate; sampled tokens are 900, 901, ..."""
    scheduler.admit()
    parts = scheduler.plan()
    for part in parts:
        scheduler.evaluated(part)
        if part.sampled:
            scheduler.sampled(part.sequence, 900 + part.sequence.completion_tokens)
    return [(part.slot, part.start, len(part.tokens), part.sampled) for part in parts]


def enqueue(scheduler, *prompts):
    sequences = [Sequence(prompt, limit=100) for prompt in prompts]
    for sequence in sequences:
        scheduler.enqueue(sequence)
    return sequences


def test_nothing_to_do_plans_nothing():
    """Without sequences a step is empty."""
    assert step(Scheduler(slots=2, chunk=8)) == []


def test_prompt_is_evaluated_in_chunks_and_sampled_at_its_end():
    """A long prompt takes several steps, and only its last token is followed by a new one."""
    scheduler = Scheduler(slots=1, chunk=8)
    enqueue(scheduler, prompt_of(20))
    assert [step(scheduler) for _ in range(4)] == [
        [(0, 0, 8, False)],
        [(0, 8, 8, False)],
        [(0, 16, 4, True)],
        [(0, 20, 1, True)],
    ]


def test_chunk_is_shared_by_all_prompts():
    """Two prompts that arrive together share one chunk, the first comer being served first."""
    scheduler = Scheduler(slots=2, chunk=8)
    enqueue(scheduler, prompt_of(6), prompt_of(6, first=100))
    assert step(scheduler) == [(0, 0, 6, True), (1, 0, 2, False)]
    assert step(scheduler) == [(0, 6, 1, True), (1, 2, 4, True)]


def test_long_prompt_does_not_starve_running_stream():
    """While 2,000 prompt tokens are evaluated, a running stream gets a token in every step."""
    scheduler = Scheduler(slots=2, chunk=64)
    running, _ = enqueue(scheduler, prompt_of(3), prompt_of(2000, first=5000))
    while any(not sampled for _, _, _, sampled in step(scheduler)):
        pass
    assert running.completion_tokens == 2000 // 64 + 1


def test_batch_never_exceeds_slots_and_chunk():
    """No step evaluates more than a token a slot and one chunk of prompts."""
    scheduler = Scheduler(slots=4, chunk=16)
    enqueue(scheduler, *(prompt_of(50 + 7 * n, first=1000 * n) for n in range(4)))
    for _ in range(40):
        assert sum(count for _, _, count, _ in step(scheduler)) <= 4 + 16


def test_admission_is_first_come_first_served():
    """Slots go to those who wait longest, and nobody passes them."""
    scheduler = Scheduler(slots=2, chunk=8)
    first, second, third, fourth = enqueue(scheduler, *(prompt_of(4, first=n) for n in range(4)))
    assert scheduler.admit() == [first, second]
    assert scheduler.admit() == []
    scheduler.release(second)
    assert scheduler.admit() == [third]
    scheduler.release(first)
    assert scheduler.admit() == [fourth]


def test_prefix_that_a_slot_holds_is_not_evaluated_again():
    """A conversation's next turn starts where the last one ended."""
    scheduler = Scheduler(slots=2, chunk=64)
    (turn,) = enqueue(scheduler, prompt_of(10))
    step(scheduler)
    step(scheduler)
    scheduler.release(turn)
    (next_turn,) = enqueue(scheduler, (*prompt_of(10), 900, 7, 8, 9))
    assert step(scheduler) == [(0, 11, 3, True)]
    assert next_turn.cached_tokens == 11


def test_chunks_begin_where_they_do_without_a_reused_prefix():
    """A prompt that goes on in the middle of a chunk first comes to that chunk's end."""
    scheduler = Scheduler(slots=1, chunk=8, baked=prompt_of(11))
    enqueue(scheduler, prompt_of(30))
    assert [step(scheduler) for _ in range(3)] == [
        [(0, 11, 5, False)],
        [(0, 16, 8, False)],
        [(0, 24, 6, True)],
    ]


def test_last_prompt_token_is_always_evaluated():
    """The same prompt again costs one token: its logits are needed."""
    scheduler = Scheduler(slots=1, chunk=64)
    (sequence,) = enqueue(scheduler, prompt_of(10))
    step(scheduler)
    scheduler.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(10))
    assert step(scheduler) == [(0, 9, 1, True)]
    assert again.cached_tokens == 9


def test_slot_with_longest_common_prefix_is_chosen():
    """Of several idle slots the one that holds most of the prompt is continued."""
    scheduler = Scheduler(slots=3, chunk=64)
    for sequence in enqueue(scheduler, prompt_of(4), (0, 1, 2, 3, 4, 50), (0, 60)):
        step(scheduler)
        assert sequence.slot is not None
    for sequence in list(scheduler.active):
        scheduler.release(sequence)
    (sequence,) = enqueue(scheduler, (0, 1, 2, 3, 4, 99))
    scheduler.admit()
    assert (sequence.slot.id, sequence.cached_tokens) == (1, 5)


def test_without_a_common_prefix_the_least_recently_used_slot_is_chosen():
    """What was used last is most likely to be continued, so it is kept."""
    scheduler = Scheduler(slots=2, chunk=64)
    first, second = enqueue(scheduler, prompt_of(4), prompt_of(4, first=100))
    step(scheduler)
    scheduler.release(second)
    scheduler.release(first)
    (stranger,) = enqueue(scheduler, prompt_of(4, first=500))
    scheduler.admit()
    assert stranger.slot.id == 1


def test_release_in_queue_leaves_the_others_in_order():
    """A request that is cancelled while it waits never gets a slot."""
    scheduler = Scheduler(slots=1, chunk=8)
    first, second, third = enqueue(scheduler, *(prompt_of(4, first=n) for n in range(3)))
    scheduler.admit()
    scheduler.release(second)
    scheduler.release(first)
    assert scheduler.admit() == [third]


def test_released_prefill_keeps_what_was_evaluated():
    """A prompt that is cancelled half way is continued by the next request that shares it."""
    scheduler = Scheduler(slots=1, chunk=8)
    (sequence,) = enqueue(scheduler, prompt_of(20))
    step(scheduler)
    scheduler.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(20))
    assert step(scheduler) == [(0, 8, 8, False)]
    assert again.cached_tokens == 8


def test_forgotten_slot_is_evaluated_from_the_start():
    """A sequence whose slot could not be truncated starts over."""
    scheduler = Scheduler(slots=1, chunk=64)
    (sequence,) = enqueue(scheduler, prompt_of(10))
    step(scheduler)
    scheduler.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(10))
    scheduler.admit()
    scheduler.forget(again.slot)
    assert again.cached_tokens == 0
    assert step(scheduler) == [(0, 0, 10, True)]


BAKED = prompt_of(10)


def test_every_slot_is_as_good_as_the_one_with_the_baked_prompt():
    """Two requests that begin with it evaluate their own part alone, in the same step."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    first, second = enqueue(scheduler, (*BAKED, 50, 51), (*BAKED, 60))
    assert step(scheduler) == [(0, 10, 2, True), (1, 10, 1, True)]
    assert (first.cached_tokens, first.from_baked) == (10, False)
    assert (second.cached_tokens, second.from_baked) == (10, True)


def test_baked_prompt_does_not_cost_another_conversation():
    """A newcomer gets the slot unused for longest, though another one holds the prompt too."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    (first,) = enqueue(scheduler, (*BAKED, 50, 51))
    step(scheduler)
    scheduler.release(first)
    (newcomer,) = enqueue(scheduler, (*BAKED, 60))
    scheduler.admit()
    assert (newcomer.slot.id, newcomer.from_baked) == (1, True)
    (next_turn,) = enqueue(scheduler, (*BAKED, 50, 51, 52, 53))
    scheduler.admit()
    assert (next_turn.slot.id, next_turn.from_baked, next_turn.cached_tokens) == (0, False, 12)


def test_slot_that_holds_the_baked_prompt_is_not_given_it_again():
    """What is there already is cut off behind it."""
    scheduler = Scheduler(slots=1, chunk=64, baked=BAKED)
    (first,) = enqueue(scheduler, (*BAKED, 50, 51))
    step(scheduler)
    scheduler.release(first)
    (second,) = enqueue(scheduler, (*BAKED, 60))
    assert step(scheduler) == [(0, 10, 1, True)]
    assert not second.from_baked


def test_prompt_that_is_not_more_than_the_baked_one_does_not_use_it():
    """Its last token must be evaluated; a part of the baked prompt is reused as any prefix is."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    same, part, other = (Sequence(prompt, limit=9) for prompt in (BAKED, BAKED[:4], (7, 8)))
    for sequence, cached in ((same, 9), (part, 3), (other, 0)):
        scheduler.enqueue(sequence)
        scheduler.admit()
        assert (sequence.cached_tokens, sequence.from_baked) == (cached, False)
        scheduler.release(sequence)
        scheduler.forget(scheduler.slots[0])
        scheduler.slots[0].held.extend(BAKED)
        scheduler.forget(scheduler.slots[1])

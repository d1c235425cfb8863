"""The plan of each step, without a model."""

from array import array

import pytest

from pilotlight_backend import Image
from pilotlight_backend.prompt_cache import Found, Snapshot
from pilotlight_backend.prompt_cache.entry import Entry
from pilotlight_llama_cpp.media import Patch, expand
from pilotlight_llama_cpp.scheduler import Scheduler
from pilotlight_llama_cpp.sequence import Sequence


def prompt_of(length, *, first=0):
    return tuple(range(first, first + length))


def step(scheduler, *, is_encoding=False):
    """Admit, plan and pretend to evaluate; sampled tokens are 900, 901, ..."""
    scheduler.admission.admit()
    parts = scheduler.plan(is_encoding=is_encoding)
    for part in parts:
        part.record()
        if part.sampled:
            part.sequence.chosen(900 + part.sequence.completion_tokens)
    return [(part.slot, part.start, len(part.tokens), part.sampled) for part in parts]


def enqueue(scheduler, *prompts, shares=False):
    sequences = [Sequence(prompt, limit=100, shares_prompt=shares) for prompt in prompts]
    for sequence in sequences:
        scheduler.admission.enqueue(sequence)
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


def test_prompts_are_evaluated_one_after_the_other():
    """The first comer has its first token first; then both decode in one batch."""
    scheduler = Scheduler(slots=2, chunk=64)
    enqueue(scheduler, prompt_of(40), prompt_of(40, first=100))
    assert [step(scheduler) for _ in range(3)] == [
        [(0, 0, 40, True)],
        [(1, 0, 40, True)],
        [(0, 40, 1, True), (1, 40, 1, True)],
    ]


def test_short_prompts_are_evaluated_together():
    """A pass over the weights for each would take longer than all their tokens."""
    scheduler = Scheduler(slots=3, chunk=16)
    enqueue(scheduler, *(prompt_of(2, first=10 * n) for n in range(3)))
    assert step(scheduler) == [(slot, 0, 2, True) for slot in range(3)]


def test_long_prompt_does_not_starve_running_stream():
    """Of 2,000 prompt tokens a running stream waits for 64 at a time."""
    scheduler = Scheduler(slots=2, chunk=64)
    running, long = enqueue(scheduler, prompt_of(3), prompt_of(2000, first=5000))
    step(scheduler)
    waited = 0
    while long.pending is None:
        runs = step(scheduler)
        decoded = any(slot == 0 for slot, *_ in runs)
        waited = 0 if decoded else waited + sum(count for _, _, count, _ in runs)
        assert waited <= 64
    assert running.completion_tokens == 2000 // 64 + 1


def test_stream_waits_for_a_chunk_of_several_prompts():
    """Prompts of 130 tokens that come at once hold it up for two of them, with a chunk of 300."""
    scheduler = Scheduler(slots=6, chunk=300)
    enqueue(scheduler, prompt_of(3))
    step(scheduler)
    enqueue(scheduler, *(prompt_of(130, first=1000 * n) for n in range(1, 6)))
    steps = [[slot for slot, *_ in step(scheduler)] for _ in range(5)]
    decodes = [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert steps == [[1, 2], decodes[0], [3, 4], decodes[1], [5]]


def test_stream_waits_for_half_a_chunk_while_an_image_is_encoded():
    """The encoder takes half of the cores, so half of a chunk takes as long as a whole one."""
    scheduler = Scheduler(slots=2, chunk=64)
    enqueue(scheduler, prompt_of(3), prompt_of(200, first=5000))
    step(scheduler)
    steps = [step(scheduler, is_encoding=encoding) for encoding in (True, True, True, False)]
    assert steps == [
        [(1, 0, 32, False)],
        [(0, 3, 1, True)],
        [(1, 32, 32, False)],
        [(0, 4, 1, True)],
    ]
    assert step(scheduler) == [(1, 64, 64, False)]


def test_what_was_evaluated_beside_an_encoding_counts_twice():
    """The streams have waited that long, also if the next image's vectors come behind it."""
    scheduler = Scheduler(slots=3, chunk=64)
    enqueue(scheduler, prompt_of(3))
    step(scheduler)
    enqueue(scheduler, prompt_of(25, first=1000), prompt_of(25, first=2000))
    steps = [step(scheduler, is_encoding=encoding) for encoding in (True, False, False)]
    assert [[slot for slot, *_ in runs] for runs in steps] == [[1], [0, 1], [2]]


def test_prompts_alone_have_whole_chunks_while_an_image_is_encoded():
    """Nobody waits for less."""
    scheduler = Scheduler(slots=1, chunk=64)
    enqueue(scheduler, prompt_of(100))
    steps = [step(scheduler, is_encoding=True) for _ in range(2)]
    assert steps == [[(0, 0, 64, False)], [(0, 64, 36, True)]]


def test_deterministic_chunks_stay_whole_while_an_image_is_encoded():
    """Their ends determine the result; a stream decodes between two of them."""
    scheduler = Scheduler(slots=2, chunk=64, deterministic=True)
    enqueue(scheduler, prompt_of(3), prompt_of(150, first=5000))
    step(scheduler)
    steps = [step(scheduler, is_encoding=True) for _ in range(5)]
    assert [[(slot, size) for slot, _, size, _ in runs] for runs in steps] == [
        [(1, 64)], [(0, 1)], [(1, 64)], [(0, 1)], [(1, 22)],
    ]  # fmt: skip


def test_image_larger_than_a_chunk_does_not_starve():
    """It is evaluated in one batch, for which streams wait once."""
    image = Image.of(1, 1, bytes(3))
    prompt = expand([1, image, 2], lambda _: (Patch(96, 96),))
    scheduler = Scheduler(slots=2, chunk=64, whole_images=True)
    enqueue(scheduler, prompt_of(3))
    step(scheduler)
    seeing = Sequence(prompt.tokens, limit=9, spans=prompt.spans)
    seeing.encoded[image.digest] = [array("f", [0.0] * 96)]
    scheduler.admission.enqueue(seeing)
    steps = [[slot for slot, *_ in step(scheduler, is_encoding=True)] for _ in range(4)]
    assert steps == [[0, 1], [1], [0], [0, 1]]


def test_deterministic_prompt_is_in_no_batch_with_others():
    """Neither short prompts, nor a prompt of one token beside a stream, which saves a pass."""
    scheduler = Scheduler(slots=3, chunk=16, deterministic=True)
    enqueue(scheduler, (7,), (8,), (9,))
    steps = [[slot for slot, *_ in step(scheduler)] for _ in range(4)]
    assert steps == [[0], [1], [2], [0, 1, 2]]


def test_unified_cache_decodes_beside_prompts():
    """There a token of each stream costs no pass of its own."""
    scheduler = Scheduler(slots=2, chunk=16, unified=True)
    enqueue(scheduler, prompt_of(3), prompt_of(40, first=100))
    step(scheduler)
    assert [step(scheduler) for _ in range(3)] == [
        [(0, 3, 1, True), (1, 0, 16, False)],
        [(0, 4, 1, True), (1, 16, 16, False)],
        [(0, 5, 1, True), (1, 32, 8, True)],
    ]


def test_batch_never_exceeds_slots_and_chunk():
    """No step evaluates more than a token a slot and one chunk of prompts."""
    scheduler = Scheduler(slots=4, chunk=16)
    enqueue(scheduler, *(prompt_of(50 + 7 * n, first=1000 * n) for n in range(4)))
    for _ in range(40):
        assert sum(count for _, _, count, _ in step(scheduler)) <= 4 + 16


def test_forced_tokens_are_evaluated_with_the_one_before():
    """Tokens that must come behind a sampled one are one run with it, sampled at its end."""
    scheduler = Scheduler(slots=1, chunk=8)
    (sequence,) = enqueue(scheduler, prompt_of(4))
    step(scheduler)
    sequence.chosen(1000)
    sequence.chosen(1001)
    (run,) = scheduler.plan()
    assert (run.start, run.tokens, run.sampled) == (4, (900, 1000, 1001), True)
    run.record()
    assert sequence.slot.held == [*range(4), 900, 1000, 1001]
    assert sequence.completion_tokens == 3


def test_more_forced_tokens_than_a_chunk_take_several_steps():
    """A chunk bounds the batch; none of the tokens is lost."""
    scheduler = Scheduler(slots=2, chunk=4)
    first, second = enqueue(scheduler, prompt_of(2), prompt_of(2, first=100))
    step(scheduler)
    for token in range(1000, 1006):
        first.chosen(token)
    assert step(scheduler) == [(0, 2, 5, False), (1, 2, 1, True)]
    assert step(scheduler) == [(0, 7, 2, True), (1, 3, 1, True)]
    assert first.slot.held == [0, 1, 900, *range(1000, 1006)]
    assert first.pending == (907,)
    assert second.pending == (902,)


def test_deterministic_forced_tokens_are_evaluated_one_a_step():
    """In a longer run, the others in the batch would say how many are computed together."""
    scheduler = Scheduler(slots=1, chunk=8, deterministic=True)
    (sequence,) = enqueue(scheduler, prompt_of(4))
    step(scheduler)
    sequence.chosen(1000)
    assert step(scheduler) == [(0, 4, 1, False)]
    assert step(scheduler) == [(0, 5, 1, True)]


def test_admission_is_first_come_first_served():
    """Slots go to the requests that wait longest, without overtaking."""
    scheduler = Scheduler(slots=2, chunk=8)
    first, second, third, fourth = enqueue(scheduler, *(prompt_of(4, first=n) for n in range(4)))
    assert scheduler.admission.admit() == [first, second]
    assert scheduler.admission.admit() == []
    scheduler.admission.release(second)
    assert scheduler.admission.admit() == [third]
    scheduler.admission.release(first)
    assert scheduler.admission.admit() == [fourth]


def test_parts_come_in_the_order_of_their_slots():
    """llama.cpp evaluates in one pass what rises by one, and slots are given in any order."""
    scheduler = Scheduler(slots=3, chunk=8)
    first, second, third = enqueue(scheduler, *(prompt_of(2, first=100 * n) for n in range(3)))
    step(scheduler)
    for sequence in (third, first, second):
        scheduler.admission.release(sequence)
    for number, slot in enumerate((2, 0, 1)):  # the one unused for longest is first
        (stranger,) = enqueue(scheduler, prompt_of(4, first=500 + 100 * number))
        scheduler.admission.admit()
        assert stranger.slot.id == slot
        step(scheduler)
    assert [slot for slot, *_ in step(scheduler)] == [0, 1, 2]


def test_prefix_that_a_slot_holds_is_not_evaluated_again():
    """A conversation's next turn starts where the last one ended."""
    scheduler = Scheduler(slots=2, chunk=64)
    (turn,) = enqueue(scheduler, prompt_of(10))
    step(scheduler)
    step(scheduler)
    scheduler.admission.release(turn)
    (next_turn,) = enqueue(scheduler, (*prompt_of(10), 900, 7, 8, 9))
    assert step(scheduler) == [(0, 11, 3, True)]
    assert next_turn.cached_tokens == 11


def test_chunks_behind_a_reused_prefix_are_whole():
    """No more of them are evaluated than needed."""
    scheduler = Scheduler(slots=1, chunk=8, baked=prompt_of(11))
    enqueue(scheduler, prompt_of(30))
    assert [step(scheduler)[0][1:3] for _ in range(3)] == [(11, 8), (19, 8), (27, 3)]


def test_deterministic_chunks_begin_where_they_do_without_a_reused_prefix():
    """A prompt that continues in the middle of a chunk first comes to that chunk's end."""
    scheduler = Scheduler(slots=1, chunk=8, baked=prompt_of(11), deterministic=True)
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
    scheduler.admission.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(10))
    assert step(scheduler) == [(0, 9, 1, True)]
    assert again.cached_tokens == 9


def test_slot_with_longest_common_prefix_is_chosen():
    """Of several idle slots the one that holds most of the prompt is continued."""
    scheduler = Scheduler(slots=3, chunk=64)
    for sequence in enqueue(scheduler, prompt_of(4), (0, 1, 2, 3, 4, 50), (0, 60)):
        step(scheduler)
        assert sequence.slot is not None
    for sequence in list(scheduler.admission.active):
        scheduler.admission.release(sequence)
    (sequence,) = enqueue(scheduler, (0, 1, 2, 3, 4, 99))
    scheduler.admission.admit()
    assert (sequence.slot.id, sequence.cached_tokens) == (1, 5)


def test_without_a_common_prefix_the_least_recently_used_slot_is_chosen():
    """What was used last is most likely to be continued, so it is kept."""
    scheduler = Scheduler(slots=2, chunk=64)
    first, second = enqueue(scheduler, prompt_of(4), prompt_of(4, first=100))
    step(scheduler)
    scheduler.admission.release(second)
    scheduler.admission.release(first)
    (stranger,) = enqueue(scheduler, prompt_of(4, first=500))
    scheduler.admission.admit()
    assert stranger.slot.id == 1


def test_release_in_queue_leaves_the_others_in_order():
    """A request that is cancelled while it waits never gets a slot."""
    scheduler = Scheduler(slots=1, chunk=8)
    first, second, third = enqueue(scheduler, *(prompt_of(4, first=n) for n in range(3)))
    scheduler.admission.admit()
    scheduler.admission.release(second)
    scheduler.admission.release(first)
    assert scheduler.admission.admit() == [third]


def test_released_prefill_keeps_what_was_evaluated():
    """A prompt that is cancelled half way is continued by the next request that shares it."""
    scheduler = Scheduler(slots=1, chunk=8)
    (sequence,) = enqueue(scheduler, prompt_of(20))
    step(scheduler)
    scheduler.admission.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(20))
    assert step(scheduler) == [(0, 8, 8, False)]
    assert again.cached_tokens == 8


def test_forgotten_slot_is_evaluated_from_the_start():
    """A sequence whose slot could not be truncated starts over."""
    scheduler = Scheduler(slots=1, chunk=64)
    (sequence,) = enqueue(scheduler, prompt_of(10))
    step(scheduler)
    scheduler.admission.release(sequence)
    (again,) = enqueue(scheduler, prompt_of(10))
    scheduler.admission.admit()
    again.slot.forget()
    assert again.cached_tokens == 0
    assert step(scheduler) == [(0, 0, 10, True)]


BAKED = prompt_of(10)
ANN = prompt_of(8, first=50)


def test_every_slot_is_as_good_as_the_one_with_the_baked_prompt():
    """Two requests that begin with it evaluate their own part alone."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    first, second = enqueue(scheduler, (*BAKED, 50, 51), (*BAKED, 60))
    assert step(scheduler) == [(0, 10, 2, True)]
    assert step(scheduler) == [(0, 12, 1, True), (1, 10, 1, True)]
    assert (first.cached_tokens, first.offer.source == "baked") == (10, False)
    assert (second.cached_tokens, second.offer.source == "baked") == (10, True)


def test_baked_prompt_does_not_cost_another_conversation():
    """A new request gets the empty slot, even if another one holds the baked prompt already."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    (first,) = enqueue(scheduler, (*BAKED, *ANN))
    step(scheduler)
    scheduler.admission.release(first)
    (newcomer,) = enqueue(scheduler, (*BAKED, 60))
    scheduler.admission.admit()
    assert (newcomer.slot.id, newcomer.offer.source == "baked") == (1, True)
    (next_turn,) = enqueue(scheduler, (*BAKED, *ANN, 52, 53))
    scheduler.admission.admit()
    assert (next_turn.slot.id, next_turn.offer.source == "baked", next_turn.cached_tokens) == (
        0,
        False,
        18,
    )


def test_slot_that_holds_the_baked_prompt_is_not_given_it_again():
    """What is there already is cut off behind it."""
    scheduler = Scheduler(slots=1, chunk=64, baked=BAKED)
    (first,) = enqueue(scheduler, (*BAKED, 50, 51))
    step(scheduler)
    scheduler.admission.release(first)
    (second,) = enqueue(scheduler, (*BAKED, 60))
    assert step(scheduler) == [(0, 10, 1, True)]
    assert second.offer.source == "slot"


def test_prompt_that_is_not_more_than_the_baked_one_does_not_use_it():
    """Its last token must be evaluated; a part of the baked prompt is reused as any prefix is."""
    scheduler = Scheduler(slots=2, chunk=64, baked=BAKED)
    same, part, other = (Sequence(prompt, limit=9) for prompt in (BAKED, BAKED[:4], (7, 8)))
    for sequence, cached in ((same, 9), (part, 3), (other, 0)):
        scheduler.admission.enqueue(sequence)
        scheduler.admission.admit()
        assert (sequence.cached_tokens, sequence.offer.source == "baked") == (cached, False)
        scheduler.admission.release(sequence)
        scheduler.admission.slots[0].forget()
        scheduler.admission.slots[0].held.extend(BAKED)
        scheduler.admission.slots[1].forget()


def test_shared_prompt_is_read_by_the_first_alone():
    """The others have a slot kept, are in no batch, and then evaluate the last token."""
    scheduler = Scheduler(slots=3, chunk=8, copies=True)
    first, second, third = enqueue(scheduler, *[prompt_of(20)] * 3, shares=True)
    assert scheduler.admission.admit() == [first]
    assert (scheduler.admission.waiting, scheduler.admission.taken) == ([second, third], 3)
    assert step(scheduler) == [(0, 0, 8, False)]
    assert step(scheduler) == [(0, 8, 8, False)]
    assert step(scheduler) == [(0, 16, 4, True)]
    assert step(scheduler) == [(0, 20, 1, True), (1, 19, 1, True), (2, 19, 1, True)]
    assert [one.cached_tokens for one in (first, second, third)] == [0, 19, 19]
    assert first.offer.copied_from is None
    assert {second.offer.copied_from, third.offer.copied_from} <= {0, 1}
    assert not scheduler.admission.waiting


def test_strangers_do_not_get_the_slots_of_those_who_wait():
    """A request behind the sharers waits for a slot as it does behind others."""
    scheduler = Scheduler(slots=3, chunk=8, copies=True)
    first, second = enqueue(scheduler, *[prompt_of(20)] * 2, shares=True)
    stranger, late = enqueue(scheduler, prompt_of(4, first=100), prompt_of(4, first=200))
    assert scheduler.admission.admit() == [first, stranger]
    scheduler.admission.release(first)
    assert scheduler.admission.admit() == [second, late]


def test_sharer_reads_on_where_the_reader_ended():
    """What was read until then is continued in its slot, and the rest wait for the new reader."""
    scheduler = Scheduler(slots=3, chunk=8, copies=True)
    first, second, third = enqueue(scheduler, *[prompt_of(20)] * 3, shares=True)
    step(scheduler)
    scheduler.admission.release(first)
    assert scheduler.admission.admit() == [second]
    assert (second.slot.id, second.cached_tokens, second.offer.copied_from) == (0, 8, None)
    assert step(scheduler) == [(0, 8, 8, False)]
    step(scheduler)
    assert scheduler.admission.admit() == [third]
    assert (third.cached_tokens, third.offer.copied_from) == (19, 0)


def test_sharer_starts_over_where_the_reader_failed():
    """Of a slot whose contents are unknown nothing is taken."""
    scheduler = Scheduler(slots=2, chunk=8, copies=True)
    first, second = enqueue(scheduler, *[prompt_of(20)] * 2, shares=True)
    step(scheduler)
    first.slot.forget()
    scheduler.admission.release(first)
    assert scheduler.admission.admit() == [second]
    assert (second.cached_tokens, second.offer.copied_from) == (0, None)


def test_waiting_sharer_is_released():
    """It leaves nothing behind: its slot goes to the next in the queue."""
    scheduler = Scheduler(slots=2, chunk=8, copies=True)
    first, second = enqueue(scheduler, *[prompt_of(20)] * 2, shares=True)
    (stranger,) = enqueue(scheduler, prompt_of(4, first=100))
    assert scheduler.admission.admit() == [first]
    scheduler.admission.release(second)
    assert scheduler.admission.admit() == [stranger]
    assert scheduler.admission.taken == 2


def test_late_sharer_continues_an_idle_slot_and_the_next_copies_it():
    """Whether the slot that holds the prompt is busy or idle, it is not evaluated again."""
    scheduler = Scheduler(slots=2, chunk=64, copies=True)
    (first,) = enqueue(scheduler, prompt_of(20), shares=True)
    step(scheduler)
    step(scheduler)
    scheduler.admission.release(first)
    second, third = enqueue(scheduler, *[prompt_of(20)] * 2, shares=True)
    assert step(scheduler) == [(0, 19, 1, True), (1, 19, 1, True)]
    assert (second.offer.copied_from, third.offer.copied_from) == (None, 0)


def test_sharer_of_another_scope_does_not_wait():
    """It could not use the other's slot, and the wait would reveal the other request."""
    scheduler = Scheduler(slots=2, chunk=8, copies=True)
    sequences = [
        Sequence(prompt_of(20), limit=9, shares_prompt=True, scope=scope) for scope in ("a", "b")
    ]
    for sequence in sequences:
        scheduler.admission.enqueue(sequence)
    assert scheduler.admission.admit() == sequences


def test_sharer_of_an_image_that_is_being_encoded_is_no_work():
    """The thread sleeps until it is: an encoding takes seconds."""
    image = Image.of(1, 1, bytes(3))
    prompt = expand([1, image, 2, 3], lambda _: (Patch(4, 4),))
    scheduler = Scheduler(slots=2, chunk=8, copies=True)
    first, second = (
        Sequence(prompt.tokens, limit=9, shares_prompt=True, spans=prompt.spans) for _ in range(2)
    )
    scheduler.admission.enqueue(first)
    scheduler.admission.enqueue(second)
    assert step(scheduler) == [(0, 0, 1, False)]
    assert (first.is_waiting, scheduler.admission.waiting) == (True, [second])
    assert not scheduler.admission.has_work
    first.encoded[image.digest] = [array("f", [0.0] * 4)]
    assert scheduler.admission.has_work


def test_cleared_slot_is_of_no_use_while_its_request_runs():
    """Nothing starts from what was cleared: neither a copy, nor one that waits for it."""
    scheduler = Scheduler(slots=2, chunk=200, copies=True)
    (first,) = enqueue(scheduler, LONG)
    step(scheduler)
    first.slot.is_cleared = True
    (second,) = enqueue(scheduler, (*LONG, 5))
    assert scheduler.admission.held(second) == 0
    assert scheduler.admission.admit() == [second]
    assert (second.cached_tokens, second.offer.copied_from) == (0, None)


def test_sharers_of_one_token_do_not_wait():
    """There is nothing to copy in front of the last token."""
    scheduler = Scheduler(slots=2, chunk=8, copies=True)
    enqueue(scheduler, (5,), (5,), shares=True)
    assert step(scheduler) == [(0, 0, 1, True), (1, 0, 1, True)]


def test_where_slots_cannot_be_copied_everyone_reads():
    """A recurrent state cannot be truncated, so no request waits for it."""
    scheduler = Scheduler(slots=2, chunk=64)
    enqueue(scheduler, *[prompt_of(40)] * 2, shares=True)
    assert [step(scheduler) for _ in range(2)] == [[(0, 0, 40, True)], [(1, 0, 40, True)]]


def test_sharer_of_another_prompt_does_not_wait():
    """A prompt that begins alike is another prompt, also where one is the other's beginning."""
    scheduler = Scheduler(slots=3, chunk=64, copies=True)
    enqueue(scheduler, prompt_of(20), prompt_of(21), (*prompt_of(19), 7), shares=True)
    assert [slot for slot, *_ in step(scheduler)] == [0, 1, 2]


LONG = prompt_of(100)


def test_long_beginning_is_copied_from_a_busy_slot():
    """A conversation under the same system prompt as a running one evaluates its own part."""
    scheduler = Scheduler(slots=2, chunk=128, copies=True)
    enqueue(scheduler, (*LONG, 500))
    step(scheduler)
    (second,) = enqueue(scheduler, (*LONG, 600, 601))
    assert step(scheduler) == [(1, 100, 2, True)]
    assert (second.cached_tokens, second.offer.copied_from) == (100, 0)


def test_short_beginning_is_evaluated():
    """To copy a slot for a few tokens takes longer than to evaluate them."""
    scheduler = Scheduler(slots=2, chunk=128, copies=True)
    enqueue(scheduler, (*LONG[:63], 500))
    step(scheduler)
    (second,) = enqueue(scheduler, (*LONG[:63], 600))
    scheduler.admission.admit()
    assert (second.cached_tokens, second.offer.copied_from) == (0, None)


def test_idle_slot_that_holds_nearly_as_much_is_continued():
    """A copy has to be worth it against what is there already, the baked prompt included."""
    scheduler = Scheduler(slots=3, chunk=128, baked=LONG[:50], copies=True)
    enqueue(scheduler, LONG)
    step(scheduler)
    (second,) = enqueue(scheduler, (*LONG[:90], 600))
    scheduler.admission.admit()
    assert (second.cached_tokens, second.offer.copied_from, second.offer.source == "baked") == (
        50,
        None,
        True,
    )


def test_copy_does_not_cost_another_conversation():
    """It goes to the slot unused for longest, and not to one that holds a part of the prompt."""
    scheduler = Scheduler(slots=3, chunk=128, copies=True)
    part, other = enqueue(scheduler, (*LONG[:10], 900), prompt_of(5, first=300))
    step(scheduler)
    scheduler.admission.release(other)
    scheduler.admission.release(part)
    enqueue(scheduler, LONG)
    step(scheduler)
    assert scheduler.admission.slots[0].sequence is not None  # it continues the part
    (second,) = enqueue(scheduler, (*LONG, 600))
    scheduler.admission.admit()
    assert (second.slot.id, second.offer.copied_from) == (2, 0)


# While a longer context is made


def spans(runs):
    return [(run.slot, run.start, len(run.tokens)) for run in runs]


def test_streams_go_on_while_a_prompt_waits_for_a_longer_context():
    """Its next chunk does not fit yet; once it does, or nothing else is left, it is evaluated."""
    scheduler = Scheduler(slots=2, chunk=64)
    running, long = enqueue(scheduler, prompt_of(3), prompt_of(200, first=5000))
    step(scheduler)
    step(scheduler)
    assert len(long.slot.held) == 64
    for decoded in (3, 4, 5):
        runs = scheduler.plan(100)
        assert spans(runs) == [(0, decoded, 1)]
        runs[0].record()
        running.chosen(900)
    scheduler.admission.release(running)
    assert spans(scheduler.plan(100)) == [(1, 64, 64)]


def test_a_stream_at_the_end_of_the_context_does_not_hold_up_others():
    """The step without it needs no longer context."""
    scheduler = Scheduler(slots=2, chunk=64)
    enqueue(scheduler, prompt_of(60), prompt_of(4, first=100))
    while len(step(scheduler)) < 2:
        pass
    assert spans(scheduler.plan(60)) == [(1, 5, 1)]
    assert len(scheduler.plan(62)) == 2


def test_a_cached_state_waits_for_a_longer_context_while_others_run():
    """Without running streams it is restored at once: no other request waits."""
    scheduler = Scheduler(slots=3, chunk=64)
    (running,) = enqueue(scheduler, prompt_of(3))
    step(scheduler)
    restored, short = enqueue(scheduler, prompt_of(150, first=100), prompt_of(5, first=7000))
    entry = Entry(seed=b"", tokens=array("i", restored.prompt[:140]), least=1, size=10)
    restored.stored = Found(entry, Snapshot(b""), 140, "memory")
    assert scheduler.admission.admit(140) == [short]
    assert scheduler.admission.lacking == 141
    assert scheduler.admission.admit(141) == [restored]
    assert scheduler.admission.lacking == 0
    scheduler.admission.release(restored)
    scheduler.admission.release(running)
    scheduler.admission.release(short)
    (again,) = enqueue(scheduler, (*restored.prompt[:149], 1))
    again.stored, again.scope = restored.stored, "of no slot"
    assert scheduler.admission.admit(100) == [again]
    assert again.offer.source == "cache"


def test_a_source_is_kept_until_the_copy_is_made():
    """Not only until the next look at what there is to evaluate: an image may be encoded first."""
    image = Image.of(1, 1, bytes(3))
    prompt = expand([*prompt_of(80), image, 7], lambda _: (Patch(4, 4),))
    scheduler = Scheduler(slots=2, chunk=256, copies=True)
    (first,) = enqueue(scheduler, prompt_of(100))
    step(scheduler)
    scheduler.admission.release(first)
    copying = Sequence(prompt.tokens, limit=9, spans=prompt.spans)
    scheduler.admission.enqueue(copying)
    assert scheduler.admission.admit() == [copying]
    assert (copying.offer.copied_from, copying.cached_tokens) == (0, 80)
    assert copying.is_waiting
    assert scheduler.plan() == []
    enqueue(scheduler, prompt_of(100, first=900))
    assert scheduler.admission.admit() == []
    copying.encoded[image.digest] = [array("f", [0.0] * 4)]
    assert [run.sequence for run in scheduler.plan()] == [copying]
    assert len(scheduler.admission.admit()) == 1


def test_a_copy_that_is_given_up_keeps_no_slot():
    scheduler = Scheduler(slots=2, chunk=256, copies=True)
    (first,) = enqueue(scheduler, prompt_of(100))
    step(scheduler)
    scheduler.admission.release(first)
    (copying,) = enqueue(scheduler, (*prompt_of(80), *prompt_of(20, first=500)))
    assert scheduler.admission.admit() == [copying]
    assert copying.offer.copied_from == 0
    scheduler.admission.release(copying)
    enqueue(scheduler, prompt_of(100, first=900))
    assert scheduler.plan() == []
    assert len(scheduler.admission.admit()) == 1


def test_a_shared_prompt_is_read_from_storage_for_one_of_its_sequences():
    """The others wait without a step, and copy its slot once its prefill has ended."""
    scheduler = Scheduler(slots=3, chunk=256, copies=True)
    prompt = prompt_of(150)
    first, *others = enqueue(scheduler, prompt, prompt, prompt, shares=True)
    scheduler.admission.reserve()
    first.fetching = True
    assert [scheduler.admission.is_fetched_for_another(one) for one in (first, *others)] == [
        0,
        1,
        1,
    ]
    assert not scheduler.admission.has_work
    assert scheduler.admission.admit() == []
    entry = Entry(seed=b"", tokens=array("i", prompt[:140]), least=1, size=10)
    first.stored, first.fetching = Found(entry, Snapshot(b""), 140, "storage"), False
    assert scheduler.admission.has_work
    assert step(scheduler) == [(0, 140, 10, True)]
    assert len(step(scheduler)) == 3
    assert [one.cached_tokens for one in (first, *others)] == [140, 149, 149]


def test_another_scope_reads_the_prompt_for_itself():
    scheduler = Scheduler(slots=2, chunk=256, copies=True)
    first, second = enqueue(scheduler, prompt_of(150), prompt_of(150), shares=True)
    second.scope = "another"
    scheduler.admission.reserve()
    first.fetching = True
    assert not scheduler.admission.is_fetched_for_another(second)


@pytest.mark.parametrize(("count", "sizes"), [(4, [1, 3]), (8, [1, 4, 3]), (16, [1, 5, 5, 5])])
def test_prompts_of_many_streams_take_few_passes(count, sizes):
    """The first comes alone, the others meanwhile; a pass is as dear as ten tokens."""
    scheduler = Scheduler(slots=count, chunk=512)
    enqueue(scheduler, prompt_of(90))
    found = [len(step(scheduler))]
    enqueue(scheduler, *(prompt_of(90, first=1000 * n) for n in range(1, count)))
    while any(one.pending is None for one in scheduler.admission.active) or not found[1:]:
        runs = step(scheduler)
        found += [len(runs)] if runs[0][2] > 1 else []
    assert found == sizes

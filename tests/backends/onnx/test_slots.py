"""Who gets which slot, without a model."""

import pytest

from pilotlight_onnx.slots import Slots, chunks


class Job:
    """What is to be known of a request."""

    def __init__(self, prompt, limit=10, *, shares_prompt=False, scope=""):
        self.prompt = tuple(prompt)
        self.scope = scope
        self.limit = limit
        self.cached_tokens = 0
        self.shares_prompt = shares_prompt


def slots_of(count=1, *, context_length=4096, reuse=True):
    return Slots(count, context_length=context_length, reuse=reuse)


def enqueue(slots, *prompts, limit=10, shares=False):
    jobs = [Job(prompt, limit, shares_prompt=shares) for prompt in prompts]
    slots.queue.extend(jobs)
    return jobs


def serve(slots, slot, held, *, room=4096):
    """Let *slot* hold tokens, as after a request that has ended."""
    enqueue(slots, held)
    slots.admit(slot)
    slot.held, slot.room = list(held), room
    slots.release(slot)


def start(slots):
    """Give the first in the queue its slot; return the slot's id and the request."""
    slot = slots.first_choice()
    return slot.id, slots.admit(slot)


def test_nobody_waits():
    """Without requests no slot is chosen, and none is busy."""
    slots = slots_of(3)
    assert slots.first_choice() is None
    assert slots.busy == []
    assert [slot.id for slot in slots.all] == [0, 1, 2]


def test_admission_is_first_come_first_served():
    """Slots go to those who wait longest; when none is idle, the next one waits."""
    slots = slots_of(2)
    first, second, third = enqueue(slots, [1], [2], [3])
    assert start(slots) == (0, first)
    assert start(slots) == (1, second)
    assert slots.first_choice() is None
    assert [slot.job for slot in slots.busy] == [first, second]
    slots.release(slots.all[1])
    assert start(slots) == (1, third)
    assert not slots.queue


def test_idle_slot_without_a_queue():
    """A slot that is released and not wanted stays idle."""
    slots = slots_of()
    enqueue(slots, [1])
    start(slots)
    slots.release(slots.all[0])
    assert slots.first_choice() is None
    assert slots.busy == []


@pytest.mark.parametrize(
    ("held", "prompt", "cached"),
    [
        ([1, 2, 3], [1, 2, 3, 4], 2),
        ([1, 2, 3], [1, 2, 3, 4, 5], 3),
        ([1, 2, 3], [1, 2, 3], 1),
        ([1, 2, 3, 4, 5], [1, 2, 3], 1),
        ([1, 2], [1, 2], 0),
        ([1, 2, 3, 4], [1, 2, 9, 9], 2),
        ([1, 2], [1, 2, 3, 4, 5, 6], 2),
        ([9], [1, 2], 0),
        ([1], [1], 0),
        ([], [1, 2], 0),
        ([2, 1], [1, 2], 0),
    ],
)
def test_common_prefix_is_kept(held, prompt, cached):
    """What slot and prompt share is not evaluated again, save for the prompt's last two tokens."""
    slots = slots_of()
    serve(slots, slots.all[0], held)
    (job,) = enqueue(slots, prompt)
    start(slots)
    assert job.cached_tokens == cached


def test_nothing_is_kept_where_a_sequence_cannot_be_cut_back():
    """A recurrent model starts each prompt anew."""
    slots = slots_of(reuse=False)
    serve(slots, slots.all[0], [1, 2, 3])
    (job,) = enqueue(slots, [1, 2, 3, 4])
    start(slots)
    assert job.cached_tokens == 0


@pytest.mark.parametrize(("room", "cached"), [(14, 2), (13, 0), (15, 2), (0, 0)])
def test_nothing_is_kept_where_the_room_is_too_small(room, cached):
    """Prompt and answer have to fit into what the slot has, to the token."""
    slots = slots_of()
    serve(slots, slots.all[0], [1, 2, 3], room=room)
    (job,) = enqueue(slots, [1, 2, 3, 4], limit=10)
    start(slots)
    assert job.cached_tokens == cached


def test_forgotten_slot_holds_nothing():
    """What became of a slot whose generator is gone is not reused."""
    slots = slots_of()
    serve(slots, slots.all[0], [1, 2, 3])
    slots.all[0].forget()
    (job,) = enqueue(slots, [1, 2, 3, 4])
    start(slots)
    assert (job.cached_tokens, slots.all[0].held, slots.all[0].room) == (0, [], 0)


def test_slot_with_longest_common_prefix_is_chosen():
    """Of several idle slots the one that holds most of the prompt is continued."""
    slots = slots_of(4)
    serve(slots, slots.all[0], [1, 2])
    serve(slots, slots.all[1], [1, 2, 3, 4, 50])
    serve(slots, slots.all[2], [1, 2, 3, 60, 70, 80])
    (job,) = enqueue(slots, [1, 2, 3, 4, 99, 98])
    assert start(slots) == (1, job)
    assert job.cached_tokens == 4


def test_busy_slot_is_not_chosen_whatever_it_holds():
    """A request does not wait for the best slot while another one is idle."""
    slots = slots_of(2)
    serve(slots, slots.all[0], [1, 2, 3])
    enqueue(slots, [1, 2, 3, 4])
    start(slots)
    (job,) = enqueue(slots, [1, 2, 3, 4])
    assert start(slots) == (1, job)
    assert job.cached_tokens == 0


def test_prefix_without_room_is_no_reason_to_choose_a_slot():
    """A slot whose room is too small does not count as one that holds something."""
    slots = slots_of(3)
    serve(slots, slots.all[0], [1, 2, 3, 4], room=8)
    serve(slots, slots.all[1], [1, 2])
    (job,) = enqueue(slots, [1, 2, 3, 4, 5], limit=10)
    assert start(slots) == (1, job)
    assert job.cached_tokens == 2


def test_without_a_common_prefix_an_empty_slot_is_chosen():
    """What others may continue is left alone while there is an empty slot."""
    slots = slots_of(3)
    serve(slots, slots.all[0], [1, 2, 3])
    serve(slots, slots.all[2], [4, 5, 6])
    (job,) = enqueue(slots, [9, 9])
    assert start(slots) == (1, job)


def test_without_an_empty_slot_the_least_recently_used_is_chosen():
    """What was used last is most likely to be continued, so it is kept."""
    slots = slots_of(3)
    for index in (1, 2, 0):
        serve(slots, slots.all[index], [index + 1] * 3)
    order = [start(slots)[0] for _ in enqueue(slots, [7], [8], [9])]
    assert order == [1, 2, 0]


def test_without_reuse_the_least_recently_used_is_chosen():
    """Where nothing can be continued, what the slots hold makes no difference but empty or not."""
    slots = slots_of(2, reuse=False)
    serve(slots, slots.all[1], [9, 9])
    serve(slots, slots.all[0], [1, 2, 3])
    (job,) = enqueue(slots, [1, 2, 3, 4])
    assert start(slots) == (1, job)


def test_request_that_leaves_the_queue():
    """The others keep their order when one in the middle is taken out."""
    slots = slots_of()
    first, second, third = enqueue(slots, [1], [2], [3])
    slots.queue.remove(second)
    assert start(slots) == (0, first)
    slots.release(slots.all[0])
    assert start(slots) == (0, third)


@pytest.mark.parametrize(
    ("prompt", "limit", "room"),
    [
        (1, 1, 256),
        (100, 156, 256),
        (100, 157, 512),
        (256, 256, 512),
        (700, 1, 768),
        (900, 99, 1000),
        (999, 1, 1000),
        (1, 999, 1000),
    ],
)
def test_room_is_rounded_up_within_the_context(prompt, limit, room):
    """There is room for the next turn, and never more than the context holds."""
    slots = slots_of(context_length=1000)
    assert slots.room_for(Job(range(prompt), limit)) == room


def test_room_of_a_context_shorter_than_a_block():
    """A context of fifty tokens is all the room there is."""
    assert slots_of(context_length=50).room_for(Job([1], 49)) == 50


SHARED = [1, 2, 3, 4]


def finish(slots, slot):
    """End the request in *slot*, which holds its prompt and an answer then."""
    slot.room = slots.room_for(slot.job)
    slot.held = [*slot.job.prompt, 900]
    slots.release(slot)


def test_sharers_follow_each_other_in_one_slot():
    """While the slot with their prompt is busy they wait, and then find the prompt there."""
    slots = slots_of(2)
    first, second, third = enqueue(slots, *[SHARED] * 3, shares=True)
    assert start(slots) == (0, first)
    assert slots.first_choice() is None
    assert list(slots.queue) == [second, third]
    finish(slots, slots.all[0])
    assert start(slots) == (0, second)
    assert second.cached_tokens == 2
    assert slots.first_choice() is None
    finish(slots, slots.all[0])
    assert start(slots) == (0, third)
    assert [job.cached_tokens for job in (first, second, third)] == [0, 2, 2]


def test_those_behind_a_sharer_get_the_other_slots():
    """A request that waits for a prompt blocks no other, and gets its slot before later ones."""
    slots = slots_of(2)
    first, second = enqueue(slots, *[SHARED] * 2, shares=True)
    strangers = enqueue(slots, [7], [8], [9])
    assert start(slots) == (0, first)
    assert start(slots) == (1, strangers[0])
    finish(slots, slots.all[1])
    assert start(slots) == (1, strangers[1])
    finish(slots, slots.all[0])
    assert start(slots) == (0, second)
    finish(slots, slots.all[1])
    assert start(slots) == (1, strangers[2])


def test_one_slot_serves_in_order():
    """With one slot requests run in order."""
    slots = slots_of(1)
    jobs = [
        *enqueue(slots, SHARED, SHARED, shares=True),
        *enqueue(slots, [9]),
        *enqueue(slots, SHARED, shares=True),
    ]
    for job in jobs:
        assert start(slots) == (0, job)
        finish(slots, slots.all[0])
    assert [job.cached_tokens for job in jobs] == [0, 2, 0, 0]


def test_sharer_takes_an_idle_slot_that_has_the_prompt():
    """It does not wait for a busy one then."""
    slots = slots_of(2)
    serve(slots, slots.all[0], [*SHARED, 5])
    serve(slots, slots.all[1], [*SHARED, 6])
    first, second = enqueue(slots, SHARED, SHARED, shares=True)
    assert {start(slots)[0], start(slots)[0]} == {0, 1}
    assert (first.cached_tokens, second.cached_tokens) == (2, 2)


def test_sharer_reads_where_nobody_has_the_prompt_any_more():
    """A reader that was cancelled leaves an empty slot; the next one reads, and the rest wait."""
    slots = slots_of(2)
    _, second, third = enqueue(slots, *[SHARED] * 3, shares=True)
    start(slots)
    slots.all[0].forget()
    slots.release(slots.all[0])
    assert start(slots)[1] is second
    assert second.cached_tokens == 0
    assert slots.first_choice() is None
    assert list(slots.queue) == [third]


def test_sharer_with_a_longer_answer_reads_for_itself():
    """The slot has no room for it; nor has one whose cache is yet to be made."""
    slots = slots_of(2)
    enqueue(slots, SHARED, shares=True)
    start(slots)
    (longer,) = enqueue(slots, SHARED, limit=300, shares=True)
    assert start(slots) == (1, longer)
    assert longer.cached_tokens == 0


def test_room_of_a_continued_slot_counts():
    """Where the busy request continues a cache, that one's room is what there will be."""
    slots = slots_of(2)
    serve(slots, slots.all[0], SHARED, room=1000)
    (first,) = enqueue(slots, SHARED, shares=True)
    assert start(slots) == (0, first)
    (second,) = enqueue(slots, SHARED, limit=900, shares=True)
    assert slots.first_choice() is None
    assert list(slots.queue) == [second]


def test_without_reuse_sharers_read_for_themselves():
    """What cannot be cut back is not worth waiting for."""
    slots = slots_of(2, reuse=False)
    enqueue(slots, SHARED, SHARED, shares=True)
    assert [start(slots)[0], start(slots)[0]] == [0, 1]


@pytest.mark.parametrize(
    ("prompt", "shares"), [([1], True), ([1, 2, 3], True), ([1, 2, 3, 4, 5], True), (SHARED, False)]
)
def test_who_does_not_wait(prompt, shares):
    """A prompt of one token, another prompt that begins alike, and who does not want to share."""
    slots = slots_of(3)
    for first in ([1], SHARED):
        enqueue(slots, first, shares=True)
        start(slots)
    (job,) = enqueue(slots, prompt, shares=shares)
    assert start(slots) == (2, job)


def test_two_groups_do_not_hold_each_other_up():
    """Each waits for its own slot, whichever is idle first."""
    slots = slots_of(2)
    other = [5, 6, 7]
    first, second, third, fourth = enqueue(slots, SHARED, other, SHARED, other, shares=True)
    assert (start(slots), start(slots)) == ((0, first), (1, second))
    finish(slots, slots.all[1])
    assert start(slots) == (1, fourth)
    finish(slots, slots.all[0])
    assert start(slots) == (0, third)
    assert (third.cached_tokens, fourth.cached_tokens) == (2, 1)


@pytest.mark.parametrize(
    ("start", "end", "most", "steps"),
    [
        (0, 10, 512, [(0, 10)]),
        (0, 9, 4, [(0, 4), (4, 7), (7, 9)]),
        (0, 8, 4, [(0, 4), (4, 8)]),
        (3, 8, 4, [(3, 6), (6, 8)]),
        (0, 1, 4, [(0, 1)]),
        (0, 3, 2, [(0, 2), (2, 3)]),
        (0, 3, 1, [(0, 1), (1, 2), (2, 3)]),
        (4, 4, 4, []),
    ],
)
def test_no_step_is_of_one_token(start, end, most, steps):
    """One row alone is rounded otherwise; where steps are as small as can be there is no choice."""
    assert list(chunks(start, end, most)) == steps


SYSTEM = tuple(range(100, 140))
TURN = (10, 11, 12, 13, 14, 15)


def test_other_conversation_under_one_system_prompt_gets_a_slot_of_its_own():
    """A generator cannot be copied: the prompt is evaluated once for each, and no history lost."""
    slots = slots_of(2)
    ann, bob = (*SYSTEM, *TURN), (*SYSTEM, *TURN[::-1])
    for _ in range(3):
        for place, prompt in enumerate((ann, bob)):
            (job,) = enqueue(slots, prompt)
            assert start(slots)[0] == place
            finish(slots, slots.all[place])
        ann, bob = (*ann, 900, *TURN), (*bob, 900, *TURN)
    assert job.cached_tokens >= len(SYSTEM) + 2 * len(TURN)


def test_least_valuable_slot_goes():
    """Where no slot is empty, a long conversation outlives those that are short and as old."""
    slots = slots_of(3)
    for index, length in ((0, 500), (1, 20), (2, 400)):
        serve(slots, slots.all[index], [index + 1] * length)
    (job,) = enqueue(slots, [7] * 30)
    assert start(slots) == (1, job)


def test_fork_takes_the_place_of_the_branch_where_that_is_cheaper():
    """To evaluate a long system prompt again would cost more than the few tokens that are lost."""
    slots = slots_of(2)
    serve(slots, slots.all[0], [*SYSTEM, *TURN])
    serve(slots, slots.all[1], [9] * 60)
    (job,) = enqueue(slots, [*SYSTEM, *TURN[::-1]])
    assert start(slots) == (0, job)
    assert job.cached_tokens == len(SYSTEM)


def test_conversation_whose_cache_is_too_small_keeps_its_slot():
    """Its tokens are of no use to any other request: it gets a larger cache there."""
    slots = slots_of(2)
    serve(slots, slots.all[0], [*SYSTEM, *TURN], room=64)
    serve(slots, slots.all[1], [9] * 10)
    (job,) = enqueue(slots, [*SYSTEM, *TURN, 900, *TURN], limit=200)
    assert start(slots) == (0, job)
    assert job.cached_tokens == 0


def test_another_scope_finds_no_tokens():
    """Nor does it wait for a busy slot that evaluates the same prompt for another caller."""
    slots = slots_of(2)
    slots.all[0].scope = "a"
    prompt = list(range(40))
    slots.queue.append(Job(prompt, scope="a", shares_prompt=True))
    first, _ = start(slots)
    slots.all[first].held, slots.all[first].room = prompt, 4096
    other = Job(prompt, scope="b", shares_prompt=True)
    slots.queue.append(other)
    second, _ = start(slots)
    assert (second != first, other.cached_tokens) == (True, 0)
    slots.release(slots.all[first])
    same = Job([*prompt, 1], scope="a")
    slots.queue.append(same)
    assert start(slots) == (first, same)
    assert same.cached_tokens == len(prompt) - 1  # with its own last token, two are evaluated

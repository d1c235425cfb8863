"""Conversations in turn, together and in any order, on more and on fewer slots than there are."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.llama_cpp.conversations import Conversation, Player

pytestmark = pytest.mark.slow

SYSTEM = tuple(range(100, 400))

STYLES = {
    "plain": {},
    "one system prompt": {"system": SYSTEM},
    "reasoning is stripped": {"reasoning": 30},
    "no reasoning": {"no_reasoning": True},
    "all of it": {"system": SYSTEM, "reasoning": 30, "no_reasoning": True},
}


def play(player, order, conversations, rng):
    """Ask in *order*; return how many tokens each turn had cached and could have."""
    seen = []
    for number in order:
        one = conversations[number]
        prompt, answer = one.turn(rng.randrange(8, 90), rng.randrange(1, 60))
        cached = player.ask(prompt, answer)
        seen.append((cached, one.could_be(prompt)))
        one.had(prompt, answer)
    return seen


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize(("count", "slots"), [(1, 1), (2, 2), (2, 4), (3, 4), (4, 4), (7, 8)])
@pytest.mark.parametrize("mixed", [False, True], ids=["in turn", "in any order"])
@pytest.mark.parametrize("copies", [True, False], ids=["copies", "no copies"])
def test_as_many_slots_keep_every_conversation(style, count, slots, mixed, copies):
    """Each turn has cached whatever its conversation's last turn left."""
    rng = random.Random(count * slots)  # noqa: S311 - a trace, not a secret
    order = list(range(count)) * 6
    if mixed:
        rng.shuffle(order)
    conversations = [Conversation(number, **style) for number in range(count)]
    seen = play(Player(slots=slots, copies=copies), order, conversations, rng)
    assert all(cached >= could_be for cached, could_be in seen), seen
    assert sum(could_be for _, could_be in seen) > 0


@given(
    slots=st.integers(1, 5),
    style=st.sampled_from(list(STYLES.values())),
    copies=st.booleans(),
    moves=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=40),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=200, deadline=None)
def test_no_conversation_loses_to_others_that_run_beside_it(slots, style, copies, moves, seed):
    """Turns begin while others are read or answered; the plan never believes what is not there."""
    rng = random.Random(seed)  # noqa: S311 - a trace, not a secret
    player = Player(slots=slots, copies=copies)
    conversations = [Conversation(number, **style) for number in range(slots)]
    running = {}
    for move, steps in moves:
        number = move % slots
        if number in running:  # a conversation has one turn at a time
            player.finish()
            running.clear()
        one = conversations[number]
        prompt, answer = one.turn(rng.randrange(8, 150), rng.randrange(1, 30))
        could_be = one.could_be(prompt)
        running[number] = player.start(prompt, answer), could_be
        one.had(prompt, answer)
        for _ in range(steps):
            if player.scheduler.admission.has_work:
                player.step()
        for request, could_be in running.values():
            assert request.slot is None or request.cached_tokens >= could_be
    player.finish()


@given(
    slots=st.integers(1, 4),
    count=st.integers(1, 8),
    cuts=st.booleans(),
    moves=st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from(["turn", "again", "edit", "four", "cancel"])),
        max_size=40,
    ),
    steps=st.integers(0, 4),
)
@settings(max_examples=200, deadline=None)
def test_anything_may_happen(slots, count, cuts, moves, steps):
    """Edits, retries, several answers and cancels on few slots: what is reused is the prompt's."""
    player = Player(slots=slots, copies=cuts, cuts=cuts)
    conversations = [Conversation(number, system=SYSTEM) for number in range(count)]
    for number, move in moves:
        one = conversations[number % count]
        length = len(one.history)
        prompt, answer = one.turn()
        requests = [
            player.start(prompt, answer, shares_prompt=move == "four")
            for _ in range(4 if move == "four" else 1)
        ]
        if move in {"again", "edit"}:  # asked once more, or with another last message
            del one.history[length if move == "edit" else length + 20 :]
        for _ in range(steps):
            if player.scheduler.admission.has_work:
                player.step()
        if move == "cancel":
            (request,) = requests
            if request.slot is not None or request in player.scheduler.admission.queue:
                player.scheduler.admission.release(request)
    player.finish()
    assert player.scheduler.admission.taken == 0


def test_system_prompt_is_copied_from_an_idle_slot():
    """A second conversation evaluates its own part, and the first one keeps its own."""
    player = Player(slots=2)
    ann, bob = (Conversation(number, system=SYSTEM) for number in range(2))
    first = ann.turn()
    player.ask(*first)
    before = player.evaluated
    assert player.ask(*bob.turn(20, 12)) == len(SYSTEM) + 3
    assert player.evaluated - before == 20 + 3 + 12 - 1
    assert player.ask(*ann.turn()) == len(first[0]) + len(first[1]) - 1


def test_edited_message_keeps_both_branches():
    """The old branch is still there when the user goes back to it."""
    player = Player(slots=2)
    one = Conversation(0, system=SYSTEM)
    player.ask(*one.turn())
    shared = len(one.history)
    old, answer = one.turn()
    player.ask(old, answer)
    del one.history[shared:]
    new, _ = one.turn()
    assert player.ask(new, answer) == shared
    assert player.ask((*old, *answer, 77, 78), (79,)) == len(old) + len(answer) - 1


def test_long_conversation_outlives_short_requests():
    """On fewer slots the least valuable goes: many short requests follow each other in one slot."""
    player = Player(slots=2)
    long = Conversation(0)
    prompt, answer = long.turn(1000)
    player.ask(prompt, answer)
    for number in range(1, 20):
        player.ask(*Conversation(number).turn(20, 5))
    assert player.ask(*long.turn()) == len(prompt) + len(answer) - 1


def test_abandoned_conversation_goes():
    """In the end it has cost what it is worth, and others get its slot."""
    player = Player(slots=2)
    player.ask(*Conversation(0).turn(1000))
    ann, bob = Conversation(1), Conversation(2)
    rng = random.Random(0)  # noqa: S311 - a trace, not a secret
    seen = play(player, [0, 1] * 20, [ann, bob], rng)
    assert all(cached >= could_be for cached, could_be in seen[-10:])


def test_what_another_slot_holds_too_goes_first():
    """Of four answers to one prompt three are worth little more than their last tokens."""
    player = Player(slots=5)
    stranger = Conversation(1)
    kept = stranger.turn(300)
    player.ask(*kept)
    one = Conversation(0)
    prompt, answer = one.turn(400)
    for _ in range(4):
        player.start(prompt, answer, shares_prompt=True)
    player.finish()
    for number in range(2, 5):
        player.ask(*Conversation(number).turn(100))
    assert player.ask(*stranger.turn()) == len(kept[0]) + len(kept[1]) - 1
    assert player.ask(*one.turn()) >= len(prompt)


def test_state_that_cannot_be_cut_is_continued_or_left_alone():
    """A recurrent model's slot is used by a prompt that begins with all of it, and by no other."""
    player = Player(slots=2, copies=False, cuts=False)
    ann, bob = (Conversation(number, system=SYSTEM) for number in range(2))
    first = ann.turn()
    assert player.ask(*first) == 0
    assert player.ask(*bob.turn()) == 0
    assert player.ask(*ann.turn()) == len(first[0]) + len(first[1]) - 1


def test_slot_that_is_still_to_be_copied_is_not_overwritten():
    """Its own conversation waits for the step in which another one copies it."""
    player = Player(slots=2)
    ann, bob = (Conversation(number, system=SYSTEM) for number in range(2))
    first, second = ann.turn()
    player.ask(first, second)
    edited = (*first[:200], *range(9000, 9100))
    copying = player.start(*bob.turn())
    overwriting = player.start(edited, (5,))
    player.finish()
    assert (copying.cached_tokens, overwriting.cached_tokens) == (len(SYSTEM) + 3, 200)

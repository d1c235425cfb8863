"""Which drafts are verified, on traces of tokens."""

import random

import pytest

from pilotlight_llama_cpp.drafting import Draft, Drafter, Drafting, Offer, choose
from pilotlight_llama_cpp.planning import Batching
from pilotlight_llama_cpp.ubatches import Part

PASS, ROW = 1.5, 1.0
"""As with Q4_K_M on two cores."""
BATCHING = Batching(chunk=512, most=516)


def seconds(parts):
    return Drafting(BATCHING, 32).seconds(parts)


def replay(prompt, answer, *, most=32, shortest=3, row=ROW):
    """Write *answer* with drafts; return the time of the steps ÷ that without drafts, and steps."""
    drafter, drafting = Drafter(shortest), Drafting(BATCHING, most)
    held, done, took, steps = list(prompt), 1, 0.0, []
    pending = [answer[0]]
    while done < len(answer):
        offer = drafter.offer(held, pending, min(most, len(answer) - done - 1))
        (draft,) = drafting.choose([Part(0, 1)], [offer])
        accepted = 0
        while accepted < draft.length and offer.tokens[accepted] == answer[done + accepted]:
            accepted += 1
        if draft.length:
            drafter.verified(draft, accepted)
        took += PASS + row * (1 + draft.length)
        drafting.measured([Part(0, 1 + draft.length)], PASS + row * (1 + draft.length))
        steps.append((draft.length, accepted))
        held += [*pending, *answer[done : done + accepted]]
        pending = [answer[done + accepted]]
        done += 1 + accepted
    return took / ((PASS + row) * (len(answer) - 1)), steps


def noise(seed, count, vocabulary):
    chance = random.Random(seed)  # noqa: S311 - repeatable
    return [chance.randrange(vocabulary) for _ in range(count)]


def test_text_that_repeats_nothing_is_never_drafted():
    """There is no match, so it costs no row."""
    ratio, steps = replay(noise(1, 600, 150_000), noise(2, 600, 150_000))
    assert ratio == 1
    assert not any(length for length, _ in steps)


@pytest.mark.parametrize("vocabulary", [3, 6, 12, 20, 50])
@pytest.mark.parametrize("count", [64, 400, 2000])
def test_matches_that_say_nothing_cost_under_three_percent(vocabulary, count):
    """Short matches everywhere, and what followed has nothing to do with what comes."""
    prompt, answer = noise(3, 2000, vocabulary), noise(vocabulary, count, vocabulary)
    ratio, _ = replay(prompt, answer)
    assert ratio < 1.03


def test_prompt_that_misleads_costs_under_three_percent():
    """Each match is long, and the token behind it another one."""
    line = noise(4, 40, 1000)
    prompt = [token for number in range(30) for token in (*line, 2000 + number)]
    answer = [token for number in range(30) for token in (*line[5:25], 3000 + number)]
    assert replay(prompt, answer)[0] < 1.03


def test_edit_takes_less_than_half():
    """A file of 600 tokens is written again with four changes."""
    file = noise(5, 600, 5000)
    answer = [*file[:150], 6001, *file[150:300], 6002, 6003, *file[305:450], *file[460:]]
    ratio, steps = replay(file, answer)
    assert ratio < 0.6
    assert max(length for length, _ in steps) >= 15
    assert len(steps) < len(answer) / 5


def test_refused_sequence_drafts_less_and_then_stops():
    """Of the same misleading matches the later ones are no longer drafted."""
    prompt, answer = noise(6, 2000, 6), noise(7, 800, 6)
    _, steps = replay(prompt, answer)
    drafted = [length for length, _ in steps]
    assert sum(drafted[:100]) > 0
    assert sum(length > 0 for length in drafted[400:]) < 0.2 * len(drafted[400:])


def test_stopped_sequence_tries_again_at_a_long_match():
    """Behind 300 tokens of misleading matches it copies 300 tokens."""
    prompt, copied = noise(8, 1500, 6), noise(9, 300, 5000)
    ratio, steps = replay([*prompt, *copied], [*noise(10, 300, 6), *copied])
    assert len(steps) < 430
    assert ratio < 0.9


def test_dear_rows_are_not_drafted():
    """Where a row takes as long as a step, as in a small model on one thread, nothing is won."""
    file = noise(5, 300, 5000)
    ratio, _ = replay(file, file, row=100.0)
    assert ratio < 1.03


def offers(count, chance=0.9, length=16, credit=32.0):
    return [Offer(tuple(range(length)), chance, credit)] * count


def test_streams_that_leave_nothing_to_gain_do_not_draft():
    """Each further draft takes a pass of its own, in a step that the weights do not bound."""
    parts = [Part(slot, 1) for slot in range(8)]
    times = lambda parts: sum(part.tokens for part in parts)  # noqa: E731 - rows alone
    assert choose(parts, offers(8), times, room=64) == [Draft()] * 8


def test_likeliest_drafts_first():
    """The room of a step goes to the stream that copies, not to the first one."""
    parts = [Part(0, 1), Part(1, 1)]
    doubtful, sure = offers(1, chance=0.3)[0], offers(1, chance=0.98)[0]
    drafts = choose(parts, [doubtful, sure], seconds, room=15)
    assert [draft.length for draft in drafts] == [0, 15]


def test_draft_is_bounded_by_its_credit():
    """What it costs if it is refused must not be more."""
    (draft,) = choose([Part(0, 1)], offers(1, credit=1.2), seconds, room=32)
    assert draft.length == 3
    assert draft.cost == pytest.approx(1.2)
    (none,) = choose([Part(0, 1)], offers(1, credit=0.1), seconds, room=32)
    assert none == Draft(length=0, cost=pytest.approx(0.4))


def test_nothing_is_sought_before_a_draft_can_be_paid():
    """A match in each step costs no lookup for some steps, and until the credit is enough."""
    for spent, cost, steps in ((0.0, 0.0, 4), (0.4, 0.3, 18)):
        drafter, tokens = Drafter(3), [1, 2, 3, 4, 1, 2]
        drafter.trust.spend(spent)
        drafter._is_tried = True
        assert drafter.offer(tokens, [3], 4) is not None
        drafter.put_off(cost)
        sought = [drafter.offer([*tokens, *[3, 4, 1, 2] * step], [3], 4) for step in range(1, 40)]
        waited = next(step for step, one in enumerate(sought) if one is not None)
        assert waited == pytest.approx(steps, abs=1)


@pytest.mark.parametrize("room", [0, -3])
def test_full_step_has_no_room(room):
    """Forced tokens may fill a batch."""
    assert choose([Part(0, 1)], offers(1), seconds, room=room) == [Draft()]


def test_rows_are_whole_tiles():
    """A row beyond four, eight, twelve takes longer than those before it."""
    for most in range(1, 32):
        (draft,) = choose([Part(0, 1)], offers(1, chance=0.99), seconds, room=most)
        assert (draft.length + 1) % 4 == 0 or draft.length == most < 3


def test_long_prompt_is_indexed_in_parts():
    """No step is delayed by more than 1,024 tokens; then it drafts."""
    prompt, drafter = noise(11, 2500, 50_000), Drafter(3)
    pending = prompt[:3]
    assert [drafter.offer(prompt, pending, 4) for _ in range(2)] == [None, None]
    assert drafter.offer(prompt, pending, 4).tokens == tuple(prompt[3:7])


def test_images_are_not_drafted():
    """Their numbers are no tokens."""
    drafter = Drafter(3)
    assert drafter.offer([1, 2, 3, 4, -5, -6, 1, 2], [3], 4).tokens == (4,)


def test_nothing_is_offered_at_the_limit():
    """One more token is sampled in any case."""
    drafter = Drafter(3)
    assert drafter.offer([1, 2, 3, 4, 1, 2], [3], 0) is None

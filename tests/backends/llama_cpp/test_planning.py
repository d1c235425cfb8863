"""Which prompts share a step, and when running streams decode."""

import itertools

import pytest

from pilotlight_llama_cpp import ubatches
from pilotlight_llama_cpp.planning import Batching, Plan, plan, together
from pilotlight_llama_cpp.ubatches import Part

BATCHING = Batching(chunk=100, most=108)
STREAMS = [Part(0, 1), Part(1, 1)]


def prompts(*lengths, first=2):
    return [Part(first + number, length) for number, length in enumerate(lengths)]


def total_time(lengths, ends, streams):
    """Return the sum of the times until first and six times last tokens, for steps to *ends*."""
    parts, now, total = prompts(*lengths), 0, 0
    for start, end in itertools.pairwise((0, *ends)):
        now += ubatches.cost(parts[start:end], most=BATCHING.most, unified=False)
        total += now * (end - start)
    return total + 6 * now * (len(lengths) + streams)


def divisions(count):
    """Yield every way to divide so many prompts into steps, by the steps' ends."""
    for cuts in itertools.product([False, True], repeat=count - 1):
        yield (*(place for place, cut in enumerate(cuts, start=1) if cut), count)


@pytest.mark.parametrize(
    "lengths",
    [
        (90,), (90, 90), (2, 2, 2), (1, 1, 1, 1, 1, 1), (3, 90, 3), (50, 50), (2, 2, 90, 2, 2),
        (1, 2, 3, 4, 5), (8, 8, 8, 8), (60, 1, 60, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streams", [0, 3])
def test_sum_of_times_is_least(lengths, streams):
    """Against all divisions whose steps are within a chunk."""
    allowed = [
        ends
        for ends in divisions(len(lengths))
        if all(
            sum(lengths[start:end]) <= BATCHING.chunk
            for start, end in itertools.pairwise((0, *ends))
        )
    ]
    least = min(total_time(lengths, ends, streams) for ends in allowed)
    first = together(prompts(*lengths), BATCHING, streams=streams)
    assert least == min(total_time(lengths, ends, streams) for ends in allowed if ends[0] == first)


def test_prompts_are_grouped_for_all_who_wait():
    """A pass that eight prompts save comes to all of them, so four of 90 tokens share a step."""
    eight = Batching(chunk=512, most=520)
    assert together(prompts(*[90] * 8), eight) == 4
    assert together(prompts(*[400] * 8), eight) == 1


@pytest.mark.parametrize(
    ("streams", "lengths", "waited", "expected"),
    [
        ([], (), 0, Plan(decodes=True, prompts=0)),
        (STREAMS, (), 70, Plan(decodes=True, prompts=0)),
        ([], (100, 100), 0, Plan(decodes=False, prompts=1)),
        (STREAMS, (100,), 0, Plan(decodes=False, prompts=1)),
        (STREAMS, (100,), 1, Plan(decodes=True, prompts=0)),
        (STREAMS, (40, 40), 20, Plan(decodes=False, prompts=2)),
        (STREAMS, (40, 40), 21, Plan(decodes=True, prompts=0)),
        (STREAMS, (1,), 0, Plan(decodes=True, prompts=1)),
        (STREAMS, (2,), 0, Plan(decodes=False, prompts=1)),
    ],
)
def test_step(streams, lengths, waited, expected):
    """Streams wait for a chunk at most, and join where that saves a pass over the weights."""
    assert plan(streams, prompts(*lengths), BATCHING, waited=waited) == expected


def test_neighbours_alone_save_a_pass():
    """A prompt of one token in a slot behind a gap is computed by itself, so it need not wait."""
    apart = [Part(5, 1)]
    assert plan(STREAMS, apart, BATCHING, waited=0) == Plan(decodes=False, prompts=1)


@pytest.mark.parametrize("waited", [0, 50])
def test_unified_cache_always_saves_a_pass(waited):
    """Streams are computed with whatever there is, as far as that is within a chunk."""
    unified = BATCHING._replace(unified=True)
    assert plan(STREAMS, prompts(50), unified, waited=waited) == Plan(decodes=True, prompts=1)


def test_streams_with_forced_tokens_share_a_batch_only_if_they_fit():
    """A stream may have many tokens; a batch has room for a chunk and a token of each slot."""
    unified = BATCHING._replace(unified=True)
    assert plan([Part(0, 48)], prompts(60), unified, waited=0) == Plan(decodes=True, prompts=1)
    assert plan([Part(0, 49)], prompts(60), unified, waited=0) == Plan(decodes=False, prompts=1)


def test_deterministic_prompts_are_alone():
    """With company a row would be computed by other kernels."""
    alone = BATCHING._replace(deterministic=True)
    assert together(prompts(1, 1, 1), alone) == 1
    assert plan(STREAMS, prompts(1), alone, waited=0) == Plan(decodes=False, prompts=1)

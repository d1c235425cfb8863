"""Choices by logits, beside plain references on sorted lists, and beside llama.cpp's samplers."""

import itertools
import math

import numpy as np
import pytest

from pilotlight_backend import InferenceFailed, SamplingParams
from pilotlight_backend.logits import largest, with_logprobs
from pilotlight_backend.sampling import SamplerChain
from pilotlight_llama_cpp.native import library

pytestmark = pytest.mark.slow

CONTEXT = 200
PENALTY_WINDOW = SamplingParams().repeat_last_n

FILTERS = [
    {},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 40},
    {"top_k": 10**6},
    {"top_k": 2**31 - 1},
    {"top_p": 0.0},
    {"top_p": 0.3},
    {"top_p": 0.95},
    {"top_p": 0.9999},
    {"min_p": 0.05},
    {"min_p": 0.5},
    {"min_p": 1.0},
    {"top_k": 40, "top_p": 0.8},
    {"top_k": 40, "min_p": 0.1},
    {"top_p": 0.9, "min_p": 0.02},
    {"top_k": 50, "top_p": 0.95, "min_p": 0.05},
    {"top_k": 3, "top_p": 0.1, "min_p": 0.9},
]


def noise(size, seed=0, spread=3.0):
    return np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)


def array(*values):
    return np.array(values, dtype=np.float32)


def sampler(*prompt, **params):
    return SamplerChain(SamplingParams(**params), prompt, context_length=CONTEXT)


def kept(logits, **params):
    """Return the tokens that the filters leave."""
    return sampler(**params)._kept(logits, logits.max()).tolist()


def by_size(logits):
    """Return the tokens, that of the largest logit first, of equal ones that of the lowest id."""
    return sorted(range(len(logits)), key=lambda token: (-logits[token], token))


def reference_kept(logits, *, top_k=0, top_p=1.0, min_p=0.0):
    """Return what top_k, top_p and min_p leave one after the other, by the book."""
    logits = [float(logit) for logit in logits]
    peak = max(logits)
    tokens = by_size(logits)
    if top_k:
        tokens = tokens[:top_k]
    if top_p < 1:
        weights = [math.exp(logits[token] - peak) for token in tokens]
        mass = itertools.accumulate(weights)
        whole = sum(weights)
        enough = [place for place, part in enumerate(mass) if part >= top_p * whole]
        tokens = tokens[: enough[0] + 1]
    if min_p > 0:
        tokens = [token for token in tokens if math.exp(logits[token] - peak) >= min_p]
    return tokens


def reference_penalized(logits, seen, *, presence=0.0, frequency=0.0, repeat=1.0):
    """Return the logits after the penalties on *seen*, which is as long as the window."""
    penalized = [float(logit) for logit in logits]
    for token in set(seen):
        logit = penalized[token]
        logit = logit / repeat if logit > 0 else logit * repeat
        penalized[token] = logit - presence - frequency * seen.count(token)
    return penalized


# The largest of many.


@pytest.mark.parametrize(
    "size",
    [1, 2, 63, 64, 65, 127, 128, 129, 1000, 4095, 4096, 4097, 4096 + 63, 64 * 1024 + 1, 151_936],
)
@pytest.mark.parametrize("kind", ["normal", "few values", "one value", "rising", "mostly none"])
def test_largest_are_those_of_a_sort(size, kind):
    """For counts around the number of blocks, with ties, in any order, of sizes of any kind."""
    random = np.random.default_rng(size)
    logits = {
        "normal": random.normal(0, 3, size),
        "few values": random.integers(-3, 3, size),
        "one value": np.full(size, -1.5),
        "rising": np.arange(size) / 7,
        "mostly none": np.where(random.random(size) < 0.01, random.normal(0, 3, size), -np.inf),
    }[kind].astype(np.float32)
    order = np.argsort(-logits, kind="stable").tolist()
    blocks = size // 64
    counts = {1, 2, 5, 40, 63, 64, 65, 1024, blocks - 1, blocks, blocks + 1, size - 1, size}
    for count in sorted(counts | {size + 1, 10**9}):
        if count > 0:
            assert largest(logits, count).tolist() == order[:count]


def test_largest_of_many_random_vectors():
    """Sizes, counts and values by chance, so that ties fall on every side of the blocks' ends."""
    random = np.random.default_rng(1)
    for _ in range(500):
        size = int(random.integers(1, 700))
        values = int(random.integers(1, 50))
        logits = random.integers(-values, values, size).astype(np.float32)
        count = int(random.integers(1, size + 2))
        order = by_size(logits.tolist())
        assert largest(logits, count).tolist() == order[:count]


@pytest.mark.parametrize("place", [0, 63, 64, 4031, 4095, 4096, 4099])
def test_largest_at_any_place(place):
    """At a block's first and last place, and behind the last whole block, one is found."""
    logits = np.zeros(4100, dtype=np.float32)
    logits[place] = 1
    assert largest(logits, 1).tolist() == [place]
    assert largest(logits, 3).tolist() == [place, *[t for t in range(4) if t != place][:2]]


def test_largest_all_in_one_block():
    """A block whose every number is larger than all the others' is no trap."""
    logits = noise(4096)
    logits[640:704] += 100
    assert set(largest(logits, 64).tolist()) == set(range(640, 704))


@pytest.mark.parametrize("size", [1, 63, 64, 5000])
def test_largest_none(size):
    """None of them are none."""
    assert largest(noise(size), 0).tolist() == []


def test_largest_leaves_the_logits_alone():
    """Looking changes nothing."""
    logits = noise(5000)
    before = logits.copy()
    largest(logits, 40)
    assert np.array_equal(logits, before)


# The filters.


@pytest.mark.parametrize("params", FILTERS)
@pytest.mark.parametrize("size", [1, 50, 777, 5000])
def test_filters_leave_what_they_should(params, size):
    """Each alone and several in a row, with what each leaves being the next one's whole."""
    for seed in range(5):
        logits = noise(size, seed)
        assert sorted(kept(logits, **params)) == sorted(reference_kept(logits, **params))


@pytest.mark.parametrize("params", [{"top_k": 7}, {"top_p": 0.9}, {"top_k": 40, "top_p": 0.8}])
def test_filters_that_sort_leave_the_likeliest_first(params):
    """Of equal ones the lowest id comes first."""
    logits = np.random.default_rng(2).integers(-4, 4, 500).astype(np.float32)
    tokens = kept(logits, **params)
    assert tokens == by_size(logits.tolist())[: len(tokens)]


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("size", [1023, 1024, 1025, 2048, 5000, 40_000])
def test_top_p_of_more_candidates_than_are_looked_at_first(size, top_p):
    """Without top_k, a flat distribution keeps thousands, and not one less."""
    logits = noise(size, seed=3, spread=0.1)
    tokens = kept(logits, top_p=top_p)
    assert tokens == reference_kept(logits, top_p=top_p)
    assert len(tokens) > size * top_p / 2


@pytest.mark.parametrize("ones", [1023, 1024, 1025])
def test_top_p_that_ends_where_the_first_look_does(ones):
    """The last of the first 1,024 candidates is no seam: it and its neighbours are counted."""
    logits = np.full(4000, -20, dtype=np.float32)
    logits[:ones] = 0
    assert kept(logits, top_p=0.9999) == reference_kept(logits, top_p=0.9999)
    assert abs(len(kept(logits, top_p=0.9999)) - ones) <= 1


def test_top_p_keeps_the_token_that_reaches_it():
    """The one that crosses the line is in; at the line exactly, the next one is out."""
    logits = array(*(math.log(weight) for weight in (0.1, 0.4, 0.3, 0.2)))
    assert kept(logits, top_p=0.39) == [1]
    assert kept(logits, top_p=0.41) == [1, 2]
    assert kept(logits, top_p=0.69) == [1, 2]
    assert kept(logits, top_p=0.91) == [1, 2, 3, 0]
    assert kept(array(0, 0, 0, 0), top_p=0.5) == [0, 1]


def test_top_p_of_what_top_k_left():
    """The whole is what top_k left, not all there was."""
    logits = array(*(math.log(weight) for weight in (0.1, 0.4, 0.3, 0.2)))
    assert kept(logits, top_k=2, top_p=0.56) == [1]
    assert kept(logits, top_p=0.56) == [1, 2]


def test_min_p_is_a_share_of_the_largest():
    """A token as likely as the share is in, one below is out."""
    logits = array(*(math.log(weight) for weight in (0.5, 0.26, 0.24)))
    assert kept(logits, min_p=0.5) == [0, 1]
    assert kept(logits, min_p=0.47) == [0, 1, 2]
    assert kept(array(3, 3, 2.999), min_p=1.0) == [0, 1]


def test_top_p_below_one_by_the_least_keeps_all_that_count():
    """Rounding at the far end of the sum drops no token that counts."""
    logits = noise(3000, spread=0.5)
    top_p = math.nextafter(1.0, 0.0)
    assert 2990 <= len(kept(logits, top_p=top_p)) <= 3000


def test_filters_of_logits_that_forbid():
    """Tokens at minus infinity are never kept by top_p, and never drawn by anything."""
    logits = np.full(2000, -np.inf, dtype=np.float32)
    logits[[7, 1500]] = 1
    assert kept(logits, top_p=0.99) == [7, 1500]
    assert kept(logits, min_p=0.01) == [7, 1500]
    for params in FILTERS:
        one = sampler(seed=1, **params)
        assert {one.sample(logits) for _ in range(20)} <= {7, 1500}


# Bias and penalties.


def test_bias_is_added_before_anything_else():
    """It forces and forbids, and the penalties see what it made of the logits."""
    assert sampler(temperature=0.0, logit_bias={2: 100.0}).sample(array(5, 4, 3)) == 2
    assert sampler(temperature=0.0, logit_bias={0: -100.0}).sample(array(5, 4, 3)) == 1
    logits = array(5, 4, -3)
    sampler(2, temperature=0.0, logit_bias={2: 6.0}, repeat_penalty=2.0).sample(logits)
    assert logits.tolist() == [5, 4, 1.5]


def test_bias_comes_before_the_filters():
    """A token that a bias lifted is among those that top_k keeps."""
    one = sampler(top_k=1, seed=0, logit_bias={900: 50.0, 3: -50.0})
    assert {one.sample(noise(1000)) for _ in range(10)} == {900}


@pytest.mark.parametrize(
    "penalties",
    [
        {"repeat_penalty": 1.3},
        {"repeat_penalty": 0.7},
        {"presence_penalty": 0.6},
        {"presence_penalty": -2.0},
        {"frequency_penalty": 0.4},
        {"frequency_penalty": -0.4},
        {"repeat_penalty": 1.1, "presence_penalty": 1.5, "frequency_penalty": 0.25},
    ],
)
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200])
def test_penalties_on_the_window(penalties, length):
    """The last 64 tokens count, of the prompt and then of the answer, each as often as it came."""
    random = np.random.default_rng(length)
    seen = random.integers(0, 30, length).tolist()
    one = SamplerChain(
        SamplingParams(temperature=0.0, **penalties), tuple(seen), context_length=CONTEXT
    )
    short = {name.removesuffix("_penalty"): value for name, value in penalties.items()}
    for step in range(80):
        logits = noise(40, seed=step)
        expected = reference_penalized(logits, seen[-64:], **short)
        token = one.sample(logits)
        assert np.allclose(logits, expected, rtol=1e-5, atol=1e-5)
        assert token == by_size(logits)[0]
        seen.append(token)


def test_penalty_on_a_logit_of_zero_and_on_a_forbidden_one():
    """Neither becomes something that is no number."""
    logits = array(0, -np.inf, 1, -1)
    sampler(0, 1, 3, temperature=0.0, repeat_penalty=2.0, presence_penalty=0.5).sample(logits)
    assert logits.tolist() == [-0.5, -math.inf, 1, -2.5]


def test_neutral_penalties_change_nothing():
    """What is switched off leaves the logits as they are, bit by bit."""
    logits = noise(100)
    before = logits.copy()
    sampler(*range(100), temperature=1.0, top_k=5, top_p=0.5, min_p=0.1, seed=4).sample(logits)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize(("last_n", "seen"), [(0, 0), (1, 1), (64, 64), (500, 100), (-1, 100)])
def test_penalties_look_back_on_the_last_tokens(last_n, seen):
    """As many as the request says; -1 is all that the context holds."""
    logits = np.zeros(200, dtype=np.float32)
    sampler(*range(100), temperature=0.0, presence_penalty=1.0, repeat_last_n=last_n).sample(logits)
    assert np.flatnonzero(logits).tolist() == list(range(100 - seen, 100))


# The choice.


@pytest.mark.parametrize("params", FILTERS)
def test_greedy_is_the_largest(params):
    """Whatever the filters say; of equal ones the lowest id."""
    assert sampler(temperature=0.0, **params).sample(noise(777)) == by_size(noise(777))[0]
    assert sampler(temperature=0.0, **params).sample(array(1, 3, 3, 2)) == 1


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-30])
def test_the_least_temperatures_leave_the_best_alone(temperature):
    """A difference divided by the least number is infinite, which is no error."""
    one = sampler(temperature=temperature, seed=1)

    assert [one.sample(array(1, 3, 2, -50)) for _ in range(20)] == [1] * 20


@pytest.mark.parametrize("seed", [0, 1, -1, 2**32 - 1, 2**63, 2**64 - 1, 2**64 + 5, -(2**70)])
def test_any_seed_repeats(seed):
    """The same seed gives the same tokens, of whatever size it is."""
    logits = noise(1000)
    one, other = sampler(seed=seed), sampler(seed=seed)
    assert [one.sample(logits) for _ in range(50)] == [other.sample(logits) for _ in range(50)]


def test_seeds_differ_and_none_draws_one():
    """Another seed gives other tokens, and so does no seed each time."""
    logits = noise(1000)
    samplers = [sampler(seed=1), sampler(seed=2), sampler(), sampler()]
    answers = {tuple(one.sample(logits) for _ in range(50)) for one in samplers}
    assert len(answers) == 4


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ({}, [0.4, 0.3, 0.2, 0.06, 0.04]),
        ({"temperature": 2.0}, [0.4**0.5, 0.3**0.5, 0.2**0.5, 0.06**0.5, 0.04**0.5]),
        ({"temperature": 0.5}, [0.4**2, 0.3**2, 0.2**2, 0.06**2, 0.04**2]),
        ({"top_k": 3}, [0.4, 0.3, 0.2, 0, 0]),
        ({"top_p": 0.65}, [0.4, 0.3, 0, 0, 0]),
        ({"min_p": 0.12}, [0.4, 0.3, 0.2, 0.06, 0]),
        ({"top_k": 4, "top_p": 0.9, "temperature": 2.0}, [0.4**0.5, 0.3**0.5, 0.2**0.5, 0, 0]),
        ({"logit_bias": {4: math.log(10)}}, [0.4, 0.3, 0.2, 0.06, 0.4]),
    ],
)
def test_draws_follow_the_distribution(params, weights):
    """Over many draws each token comes as often as it should; temperature is the last stage."""
    order = (3, 0, 4, 1, 2)  # where the five stand in the vocabulary
    logits = np.full(6, -np.inf, dtype=np.float32)
    logits[list(order)] = np.log([0.4, 0.3, 0.2, 0.06, 0.04])
    bias = {order[place]: value for place, value in params.get("logit_bias", {}).items()}
    one = sampler(seed=5, **params | {"logit_bias": bias})
    draws = 20_000
    counts = dict.fromkeys(range(6), 0)
    for _ in range(draws):
        counts[one.sample(logits.copy())] += 1
    assert counts.pop(5) == 0
    expected = [draws * weight / sum(weights) for weight in weights]
    square = 0.0
    for token, count in zip(order, expected, strict=True):
        if count:
            square += (counts[token] - count) ** 2 / count
        else:
            assert counts[token] == 0
    assert square < 25  # of four degrees of freedom, one in twenty thousand


def test_every_token_can_be_drawn_from_a_flat_distribution():
    """The first and the last of the vocabulary, too."""
    one = sampler(seed=6)
    logits = np.zeros(64, dtype=np.float32)
    assert {one.sample(logits) for _ in range(2000)} == set(range(64))


def test_hot_draws_are_wider_than_cold_ones():
    """Close to no temperature one token is left; at a high one nearly all are equal."""
    logits = noise(1000)
    cold, hot = sampler(seed=7, temperature=1e-6), sampler(seed=7, temperature=1e6)
    assert {cold.sample(logits) for _ in range(50)} == {int(logits.argmax())}
    assert len({hot.sample(logits) for _ in range(200)}) > 150


def test_large_logits_do_not_overflow():
    """Only differences count: thousands above and below zero are as good as any."""
    logits = array(30_000, 29_999, -30_000)
    one = sampler(seed=8, top_p=0.999)
    assert {one.sample(logits) for _ in range(200)} == {0, 1}


@pytest.mark.parametrize(
    "logits",
    [
        [math.nan] * 4,
        [1, math.nan, 2, 3],
        [1, 2, 3, math.nan],
        [1, math.inf, 2, 3],
        [-math.inf] * 4,
        [-math.inf, math.nan, -math.inf, -math.inf],
    ],
)
@pytest.mark.parametrize(
    "params", [{"temperature": 0.0}, {}, {"top_k": 2}, {"top_p": 0.5}, {"presence_penalty": 1.0}]
)
def test_logits_that_are_no_numbers_fail(logits, params):
    """A model gone wrong ends the request, greedy or not, and never gives a token by chance."""
    with pytest.raises(InferenceFailed, match="not finite"):
        sampler(0, **params).sample(array(*logits))


def test_sampler_goes_on_after_a_failure():
    """What was no number is not remembered."""
    one = sampler(temperature=0.0, presence_penalty=1.0)
    with pytest.raises(InferenceFailed):
        one.sample(array(math.nan, 1))
    assert one.sample(array(2, 1.5)) == 0
    assert one.sample(array(2, 1.5)) == 1


def told(token, logits, count):
    return with_logprobs(token, logits, count, lambda one: b"<%d>" % one)


@pytest.mark.parametrize("count", [0, 1, 3, 40, 500])
@pytest.mark.parametrize("size", [500, 5000])
def test_logprobs(size, count):
    """They are the logarithms of shares of the whole vocabulary, the likeliest first."""
    logits = noise(size, spread=2.0)
    whole = math.log(math.fsum(math.exp(logit) for logit in logits.tolist()))
    event = told(7, logits, count)
    assert (event.id, event.piece) == (7, b"<7>")
    assert event.logprob == pytest.approx(float(logits[7]) - whole, abs=1e-5)
    likeliest = by_size(logits.tolist())[:count]
    assert [one.id for one in event.candidates] == likeliest
    assert [one.piece for one in event.candidates] == [b"<%d>" % token for token in likeliest]
    logprobs = [one.logprob for one in event.candidates]
    assert logprobs == pytest.approx([float(logits[t]) - whole for t in likeliest], abs=1e-5)


def test_logprobs_add_up_to_one():
    """Those of the whole vocabulary, and of one that has fewer tokens than are asked for."""
    for count in (100, 1000):
        event = told(0, noise(100), count)
        assert len(event.candidates) == 100
        shares = math.fsum(math.exp(one.logprob) for one in event.candidates)
        assert shares == pytest.approx(1, abs=1e-5)


def test_logprobs_of_large_and_forbidden_tokens():
    """Thousands above zero do not overflow; what cannot come has a share of nothing."""
    event = told(1, array(30_000, -np.inf, 30_000), 3)
    assert event.logprob == -math.inf
    half = pytest.approx(-math.log(2))
    assert [one.logprob for one in event.candidates] == [half, half, -math.inf]


# llama.cpp's samplers on the same logits.


class LlamaChain:
    """A chain of llama.cpp's samplers, applied to logits without a model."""

    def __init__(self, *stages):
        self.lib = library()
        self.chain = self.lib.llama_sampler_chain_init(
            self.lib.llama_sampler_chain_default_params()
        )
        for name, *arguments in stages:
            stage = getattr(self.lib, f"llama_sampler_init_{name}")(*arguments)
            self.lib.llama_sampler_chain_add(self.chain, stage)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.lib.llama_sampler_free(self.chain)

    def accept(self, token):
        self.lib.llama_sampler_accept(self.chain, token)

    def apply(self, logits):
        """Return the logits that are left, by token."""
        lib = self.lib
        data = (lib.llama_token_data * len(logits))(
            *((token, float(logit), 0.0) for token, logit in enumerate(logits))
        )
        candidates = lib.llama_token_data_array(
            data=data, size=len(logits), selected=-1, sorted=False
        )
        lib.llama_sampler_apply(self.chain, candidates)
        return {candidates.data[i].id: candidates.data[i].logit for i in range(candidates.size)}


@pytest.mark.parametrize("params", FILTERS)
@pytest.mark.parametrize("size", [50, 3000])
def test_filters_leave_what_llama_cpp_s_leave(params, size):
    """Both backends keep the same, save where llama.cpp's 32-bit sums put the line elsewhere."""
    stages = {
        "top_k": lambda value: ("top_k", value),
        "top_p": lambda value: ("top_p", value, 1),
        "min_p": lambda value: ("min_p", value, 1),
    }
    with LlamaChain(*(stages[name](value) for name, value in params.items())) as chain:
        for seed in range(3):
            logits = noise(size, seed)
            here, there = set(kept(logits, **params)), set(chain.apply(logits))
            weights = np.exp(logits.astype(np.float64))
            at_the_line = sum(weights[token] for token in here ^ there)
            assert at_the_line <= (1e-5 if "top_p" in params else 0) * weights.sum()


@pytest.mark.parametrize(
    ("repeat", "frequency", "presence"),
    [(1.3, 0.0, 0.0), (0.8, 0.0, 0.0), (1.0, 0.5, 0.0), (1.0, 0.0, -1.0), (1.1, 0.25, 1.5)],
)
def test_penalties_are_those_of_llama_cpp(repeat, frequency, presence):
    """The same tokens seen make the same logits in both backends, step by step."""
    prompt = [(n * n) % 37 for n in range(100)]
    one = sampler(
        *prompt,
        temperature=0.0,
        repeat_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
    )
    with LlamaChain(("penalties", 50, PENALTY_WINDOW, repeat, frequency, presence)) as chain:
        for token in prompt[-PENALTY_WINDOW:]:
            chain.accept(token)
        for step in range(10):
            logits = noise(50, seed=step)
            theirs = chain.apply(logits)
            token = one.sample(logits)
            assert logits == pytest.approx([theirs[token] for token in range(50)], abs=1e-5)
            chain.accept(token)

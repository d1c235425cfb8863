"""The stages of sampling in both backends, beside their definitions, over many seeds."""

import ctypes
import itertools
import math
from collections import Counter

import numpy as np
import pytest

from pilotlight_backend import SamplingParams
from pilotlight_backend.sampling import SUPPORTED
from pilotlight_backend.sampling import SamplerChain as NumpySampler
from pilotlight_llama_cpp.native import library
from pilotlight_llama_cpp.sampling import Samplers

pytestmark = pytest.mark.slow

CONTEXT = 4096
LOGITS = [3.0, 2.5, 2.4, 1.0, 0.5, 0.0, -1.0, -4.0]
FORBIDDEN = [*LOGITS[:5], -math.inf, -math.inf, -math.inf]
DRAWS = 4000


class NoModel:
    """What llama.cpp's stages want to know of a model: its size, and no vocabulary."""

    lib = library()
    vocabulary_size = len(LOGITS)
    vocab = None
    suppressed = ()


def llama_cpp(params, prompt=()):
    """Return a function that chooses by a chain of llama.cpp's."""
    lib = NoModel.lib
    samplers = Samplers(NoModel, context_length=CONTEXT)
    sampler = samplers.make(params, tuple(prompt))

    def choose(logits):
        data = (lib.llama_token_data * len(logits))(
            *((token, logit, 0.0) for token, logit in enumerate(logits))
        )
        candidates = lib.llama_token_data_array(
            data=data, size=len(logits), selected=-1, sorted=False
        )
        lib.llama_sampler_apply(sampler.chain, ctypes.byref(candidates))
        token = candidates.data[candidates.selected].id
        lib.llama_sampler_accept(sampler.chain, token)
        return token

    choose.keeps = (samplers, sampler)
    return choose


def in_numpy(params, prompt=()):
    """Return a function that chooses as the ONNX backend does."""
    sampler = NumpySampler(params, tuple(prompt), context_length=CONTEXT)
    return lambda logits: sampler.sample(np.array(logits, dtype=np.float32))


BOTH = pytest.mark.parametrize("backend", [llama_cpp, in_numpy])


def shares(logits):
    """Return the probability of each token."""
    weights = [math.exp(logit) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def kept(probabilities, tokens):
    """Return the probabilities once all but *tokens* are dropped."""
    whole = sum(probabilities[token] for token in tokens)
    return [p / whole if token in tokens else 0.0 for token, p in enumerate(probabilities)]


def typical(logits, mass):
    """Return the distribution of locally typical sampling, by the paper."""
    probabilities = shares(logits)
    entropy = -sum(p * math.log(p) for p in probabilities if p)
    nearest = sorted(
        (token for token, p in enumerate(probabilities) if p),
        key=lambda token: abs(-math.log(probabilities[token]) - entropy),
    )
    tokens = []
    for token in nearest:
        tokens.append(token)
        if sum(probabilities[one] for one in tokens) > mass:
            break
    return kept(probabilities, tokens)


def top_n_sigma(logits, n):
    """Return the distribution of the tokens within *n* deviations of the largest logit."""
    finite = [logit for logit in logits if logit != -math.inf]
    mean = sum(finite) / len(finite)
    sigma = math.sqrt(sum((logit - mean) ** 2 for logit in finite) / len(finite))
    tokens = [token for token, logit in enumerate(logits) if logit >= max(finite) - n * sigma]
    return kept(shares(logits), tokens)


def xtc(logits, probability, threshold):
    """Return the mixture of the whole distribution and that without the top choices but one."""
    whole = shares(logits)
    top = [token for token, p in enumerate(whole) if p >= threshold]
    excluded = kept(whole, [token for token in range(len(whole)) if token not in top[:-1]])
    return [
        (1 - probability) * one + probability * other
        for one, other in zip(whole, excluded, strict=True)
    ]


def dynamic_temperature(logits, temperature, spread, exponent):
    """Return the distribution at the temperature that the entropy calls for."""
    finite = [p for p in shares(logits) if p]
    entropy = -sum(p * math.log(p) for p in finite) / math.log(len(finite))
    least, most = max(0.0, temperature - spread), temperature + spread
    return shares([logit / (least + (most - least) * entropy**exponent) for logit in logits])


@BOTH
@pytest.mark.parametrize("logits", [LOGITS, FORBIDDEN], ids=["all possible", "some forbidden"])
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"typical_p": 0.3}, lambda row: typical(row, 0.3)),
        ({"typical_p": 0.8}, lambda row: typical(row, 0.8)),
        ({"typical_p": 0.0}, lambda row: typical(row, 0.0)),
        ({"top_n_sigma": 0.5}, lambda row: top_n_sigma(row, 0.5)),
        ({"top_n_sigma": 1.2}, lambda row: top_n_sigma(row, 1.2)),
        (
            {"xtc_probability": 1.0, "xtc_threshold": 0.1},
            lambda row: xtc(row, 1.0, 0.1),
        ),
        (
            {"xtc_probability": 0.5, "xtc_threshold": 0.2},
            lambda row: xtc(row, 0.5, 0.2),
        ),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.51}, shares),
        (
            {"temperature": 1.0, "dynatemp_range": 0.8},
            lambda row: dynamic_temperature(row, 1.0, 0.8, 1.0),
        ),
        (
            {"temperature": 0.7, "dynatemp_range": 1.0, "dynatemp_exponent": 2.0},
            lambda row: dynamic_temperature(row, 0.7, 1.0, 2.0),
        ),
    ],
)
def test_stage_draws_from_its_definition(backend, params, expected, logits):
    """Over many seeds the first token comes as often as the definition says."""
    counts = Counter(backend(SamplingParams(seed=seed, **params))(logits) for seed in range(DRAWS))
    for token, probability in enumerate(expected(logits)):
        # Four deviations: one of 15,000 honest comparisons is further off.
        allowed = 4 * math.sqrt(probability * (1 - probability) / DRAWS)
        assert abs(counts[token] / DRAWS - probability) <= allowed, (token, probability)


@BOTH
def test_stages_come_in_llama_cpp_s_order(backend):
    """What top_k leaves is all that typical_p sees, and XTC sees what min_p leaves."""
    narrow = SamplingParams(top_k=2, typical_p=0.5, seed=1)
    assert {backend(narrow)(LOGITS) for _ in range(5)} <= {0, 1}
    alone = SamplingParams(min_p=0.99, xtc_probability=1.0, xtc_threshold=0.01, seed=1)
    assert backend(alone)(LOGITS) == 0


@BOTH
@pytest.mark.parametrize(
    "stages",
    [
        {"typical_p": 0.2},
        {"xtc_probability": 1.0},
        {"top_n_sigma": 0.1},
        {"dynatemp_range": 2.0},
    ],
)
def test_greedy_takes_the_likeliest_whatever_the_filters_say(backend, stages):
    """At temperature 0 filters change nothing."""
    assert backend(SamplingParams(temperature=0.0, **stages))(LOGITS) == 0


@BOTH
def test_same_seed_same_draws(backend):
    """A seed makes the draws of all stages repeatable; another seed makes others."""
    params = {"xtc_probability": 0.5, "xtc_threshold": 0.05, "typical_p": 0.9, "top_n_sigma": 2.0}

    def drawn(seed):
        choose = backend(SamplingParams(seed=seed, **params))
        return [choose(LOGITS) for _ in range(40)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


@BOTH
@pytest.mark.parametrize(("last_n", "chosen"), [(0, 0), (1, 0), (2, 1), (64, 1), (-1, 1)])
def test_repeat_penalty_looks_back_on_repeat_last_n(backend, last_n, chosen):
    """A token is penalized where it is among the last so many."""
    params = SamplingParams(temperature=0.0, repeat_penalty=2.0, repeat_last_n=last_n)
    assert backend(params, [0, 5])(LOGITS) == chosen


def mirostat_keeps(version, probabilities, mu):
    """Return the tokens that mirostat leaves, by the paper and its second version."""
    order = sorted(range(len(probabilities)), key=lambda token: -probabilities[token])
    if version == 2:
        return [t for t in order if -math.log2(probabilities[t]) <= mu] or order[:1]
    pairs = list(itertools.pairwise(order))
    steps = [math.log((rank + 2) / (rank + 1)) for rank in range(len(pairs))]
    falls = [math.log(probabilities[one] / probabilities[other]) for one, other in pairs]
    s_hat = sum(map(math.prod, zip(steps, falls, strict=True))) / sum(t * t for t in steps)
    epsilon = s_hat - 1
    k = (epsilon * 2**mu / (1 - len(order) ** -epsilon)) ** (1 / s_hat)
    return order[: max(int(k), 1)]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau", [0.7, 1.2])
def test_mirostat_comes_to_the_surprise_that_it_aims_at(version, tau):
    """Each token is among those that it leaves, and their mean surprise is tau, in bits."""
    eta, mu, draws = 0.1, 2 * tau, 600
    params = SamplingParams(mirostat=version, mirostat_tau=tau, mirostat_eta=eta, seed=3)
    choose = llama_cpp(params)
    whole = shares(LOGITS)
    surprises = []
    for _ in range(draws):
        token = choose(LOGITS)
        left = mirostat_keeps(version, whole, mu)
        assert token in left
        surprises.append(-math.log2(kept(whole, left)[token]))
        mu -= eta * (surprises[-1] - tau)
    assert sum(surprises) / draws == pytest.approx(tau, abs=0.1)


def test_mirostat_replaces_the_filters():
    """With mirostat top_k is not asked, and a forbidden token never comes."""
    params = SamplingParams(mirostat=2, mirostat_tau=10.0, top_k=1, seed=5)
    choose = llama_cpp(params)
    drawn = {choose(FORBIDDEN) for _ in range(300)}
    assert len(drawn) > 1
    assert drawn <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("params", "chosen"),
    [
        ({}, 1),
        ({"dry_allowed_length": 3}, 1),
        ({"dry_allowed_length": 4}, 0),
        ({"dry_penalty_last_n": 4}, 0),
        ({"dry_penalty_last_n": -1}, 1),
        ({"dry_penalty_last_n": 2**31 - 1}, 1),
        ({"dry_multiplier": 0.0001}, 0),
    ],
)
def test_dry_lowers_what_would_go_on_with_a_repetition(params, chosen):
    """After `5 6 7 0 … 5 6 7` the token 0 would be the fourth of a repetition."""
    prompt = [5, 6, 7, 0, 3, 5, 6, 7]
    given = {"dry_multiplier": 1.0, "dry_base": 2.0, "dry_sequence_breakers": (), **params}
    choose = llama_cpp(SamplingParams(temperature=0.0, **given), prompt)
    assert choose(LOGITS) == chosen


def test_prepared_dry_stages_keep_nothing_of_a_request():
    """A stage is cloned for each request: what one saw is no other's repetition."""
    samplers = Samplers(NoModel, context_length=CONTEXT)
    params = SamplingParams(temperature=0.0, dry_multiplier=1.0, dry_sequence_breakers=())
    for base in range(20):  # more than are kept
        samplers.make(
            SamplingParams(dry_multiplier=1.0, dry_base=1 + base, dry_sequence_breakers=()), (1, 2)
        ).close()
    first = samplers.make(params, (5, 6, 7, 0, 5, 6, 7))
    second = samplers.make(params, ())
    first.close()
    second.close()
    samplers.close()
    samplers.close()


def test_onnx_refuses_what_is_llama_cpp_s_alone():
    """The fields that it does not honour are those of DRY and mirostat."""
    left = set(SamplingParams.__struct_fields__) - SUPPORTED
    assert {name.partition("_")[0] for name in left} == {"dry", "mirostat"}

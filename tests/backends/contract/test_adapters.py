"""Adapters in the contract: which apply, whose cached tokens they use, and which are refused."""

import itertools
import math

import pytest

from pilotlight_backend import Adapter, GenerateRequest, InvalidParameter
from pilotlight_backend.adapters import applied, cache_scope, content_digest
from pilotlight_backend.prompt_cache import owner_of
from pilotlight_backend.validation import check_request

A, B = Adapter("a"), Adapter("b", 0.5)


def test_adapters_that_apply_are_in_one_order():
    assert applied([B, A]) == applied([A, B]) == (A, B)
    assert applied([Adapter("a", 0.0), B]) == (B,)


def test_scopes_of_adapters_are_all_different():
    """Whatever salts say: none imitates an adapter, another scale or another salt."""
    scopes = ["", "ann", "ann\0", "ann\0salt", "ann\0\0a*1.0", "ann\0\0", "ann\0\0a*1.0\0salt"]
    sets = [(), (A,), (Adapter("a", 2.0),), (A, B)]
    made = [cache_scope(scope, adapters) for scope, adapters in itertools.product(scopes, sets)]
    assert len(set(made)) == len(made)


def test_scope_keeps_its_owner():
    """So that a caller's prompts are deleted with every adapter."""
    assert owner_of(cache_scope("ann\0salt", (A,))) == "ann"


def test_scope_without_adapters_stays_as_it_was():
    """Stored states of earlier versions are found."""
    assert [cache_scope(one, ()) for one in ("", "ann", "ann\0salt")] == ["", "ann", "ann\0salt"]


def test_digest_is_of_the_content(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"x" * 3_000_000)
    second.write_bytes(b"x" * 3_000_000)
    assert content_digest(first) == content_digest(second)
    second.write_bytes(b"x" * 2_999_999 + b"y")
    assert content_digest(first) != content_digest(second)


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ((A,), "adapters[0]: the engine has no such adapter"),
        ((B, B), "adapters[1]: it is given twice"),
        ((B, Adapter("c", math.nan)), "adapters: expected a number from -100.0 to 100.0, got nan"),
        ((Adapter("c", 101.0),), "adapters: expected a number from -100.0 to 100.0, got 101.0"),
        (tuple(Adapter(str(n)) for n in range(5)), "adapters: expected at most 4, got 5"),
    ],
)
def test_wrong_adapters_are_refused(adapters, message):
    request = GenerateRequest(prompt=(1,), max_tokens=1, adapters=adapters)
    with pytest.raises(InvalidParameter) as refused:
        check_request(request, context_length=9, vocabulary_size=9, adapters={"b", "c"})
    assert str(refused.value) == message
    assert refused.value.param == "adapters"

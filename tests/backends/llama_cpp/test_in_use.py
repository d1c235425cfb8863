"""Native memory is freed behind the last call that uses it."""

import threading

import pytest

from pilotlight_backend import EngineClosed
from pilotlight_llama_cpp.in_use import InUse

SECONDS = 30


def test_close_waits_for_the_calls_under_way():
    """Meanwhile no other one begins; the one that waits frees the memory, and no other."""
    in_use = InUse()
    freed = []
    with in_use, in_use:
        closing = threading.Thread(target=lambda: freed.append(in_use.close()))
        closing.start()
        while True:
            try:
                with in_use:
                    pass
            except EngineClosed:
                break
        assert not freed
    closing.join(SECONDS)
    assert freed == [True]
    assert not in_use.close()


def test_call_that_raises_has_ended():
    in_use = InUse()
    with pytest.raises(ValueError, match="no"), in_use:
        raise ValueError("no")
    assert in_use.close()

"""How many threads a model gets."""

from pilotlight_backend.cgroup import granted_cpus
from pilotlight_llama_cpp.backend import computing_threads


def test_small_model_gets_one_thread():
    """Where operations take microseconds, a second thread only waits."""
    assert computing_threads(5_000_000) == 1


def test_large_model_gets_what_is_granted():
    """A model that fills the memory's bandwidth takes every CPU there is."""
    assert computing_threads(10**9) == granted_cpus()

"""Models that llama.cpp aborts on: an error of their load, and of nothing else."""

import threading
from queue import SimpleQueue

import pytest

from pilotlight_backend import Finish, GenerateRequest, LoadOptions, ModelUnsupported
from pilotlight_backend.testing.conformance.listener import Listener
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.guarded_thread import Aborted, GuardedThread

OPTIONS = LoadOptions(parallel=1, context_length=512, threads=1)


@pytest.fixture
def aborting(family):
    """Return a model whose last layer shares the cache of one of another kind."""
    keys = {"attention.shared_kv_layers": 1, "attention.sliding_window_pattern": [1, 1, 0, 1, 0]}
    return family("gemma4", **keys)


def test_model_that_llama_cpp_aborts_on_is_unsupported(aborting, random_model):
    """The process continues, another model serves, and the error names no folder."""
    backend = LlamaCppBackend()
    with pytest.raises(ModelUnsupported, match=r"cannot run it: llama-kv-cache\.cpp:\d+: GGML"):
        backend.load(backend.probe(aborting), OPTIONS, lambda _: None)

    engine = backend.load(backend.probe(random_model), OPTIONS, lambda _: None)
    listener = Listener()
    engine.submit(GenerateRequest(prompt=(1, 2, 3), max_tokens=4), listener)
    assert isinstance(listener.wait(), Finish)
    engine.close()


def test_second_load_does_not_try_again(aborting):
    """Each try would leave a thread behind: what is known is said at once."""
    backend = LlamaCppBackend()
    facts = backend.probe(aborting)
    for _ in range(3):
        with pytest.raises(ModelUnsupported, match="cannot run it"):
            backend.load(facts, OPTIONS, lambda _: None)
        waiting = [one for one in threading.enumerate() if one.name == f"load {aborting.name}"]
        left = len(waiting)
    assert left <= 2  # one of this backend's, and one of the test before


def test_work_that_returns_or_raises():
    """What happens on the thread happens to the caller."""
    assert GuardedThread("a").run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        GuardedThread("b").run(lambda: 1 // 0)


def test_reports_are_made_on_the_callers_thread():
    """And what they raise ends the work, and passes through."""
    thread = GuardedThread("a")
    seen = []

    def work():
        for _ in range(3):
            thread.on_callers_thread(lambda: seen.append(threading.current_thread()))
        thread.on_callers_thread(lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        thread.run(work)
    assert seen == [threading.current_thread()] * 3


def test_work_runs_beside_the_caller_and_its_orders_wait():
    """The caller is free until then: it makes the calls when it has returned."""
    thread, began, seen = GuardedThread("a"), threading.Event(), []

    def work():
        began.set()
        thread.on_callers_thread(lambda: seen.append("order"))
        return 5

    def beside():
        assert began.wait(30)
        seen.append("beside")

    assert thread.run(work, beside=beside) == 5
    assert seen == ["beside", "order"]


def test_what_the_caller_raises_ends_the_work():
    """At its next order; it is over when the error is raised."""
    thread, ended = GuardedThread("a"), []

    def work():
        try:
            while True:
                thread.on_callers_thread(lambda: None)
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError):
        thread.run(work, beside=lambda: 1 // 0)
    assert ended == [True]


def test_caller_that_raises_does_not_wait_for_a_call_that_cannot_be_ended(monkeypatch):
    """As llama.cpp's mapping of a file on a slow disk. The work ends at its next order."""
    monkeypatch.setattr("pilotlight_llama_cpp.guarded_thread._ENDS_WITHIN", 0.01)
    thread, mapped, raised = GuardedThread("a"), threading.Event(), SimpleQueue()

    def work():
        assert mapped.wait(30)
        try:
            thread.on_callers_thread(lambda: raised.put(None))
        except ZeroDivisionError as error:
            raised.put(error)
            raise

    with pytest.raises(ZeroDivisionError) as caught:
        thread.run(work, beside=lambda: 1 // 0)
    assert raised.empty()
    mapped.set()
    assert raised.get(timeout=30) is caught.value


def test_caller_that_raises_after_the_work_has_ended():
    """There is no order left that could end it."""
    thread, ended = GuardedThread("a"), threading.Event()

    def beside():
        assert ended.wait(30)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        thread.run(ended.set, beside=beside)


def test_abort_in_the_midst_of_work():
    """The caller has the message; the thread stays where it is, as a daemon."""
    from pilotlight_llama_cpp import guarded_thread  # noqa: PLC0415

    with pytest.raises(Aborted, match=r"^graph\.cpp:5: GGML_ASSERT\(x\) failed$"):
        GuardedThread("c").run(
            lambda: guarded_thread._receive(b"/build/llama/graph.cpp:5: GGML_ASSERT(x) failed\n")
        )
    (left,) = [one for one in threading.enumerate() if one.name == "load c"]
    assert left.daemon


def test_abort_elsewhere_is_not_kept(capfd):
    """Off a load's thread the process ends, once it has said why."""
    from pilotlight_llama_cpp import guarded_thread  # noqa: PLC0415

    guarded_thread._receive(b"/build/ops.cpp:7: fatal error")
    assert "llama.cpp aborts the process: ops.cpp:7: fatal error" in capfd.readouterr().err

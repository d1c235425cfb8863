"""How an engine's process ends, and what it takes with it: its own requests, and nothing else."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pilotlight_backend import (
    EngineClosed,
    Failed,
    Finish,
    GenerateRequest,
    InferenceFailed,
    LoadFailed,
    LoadOptions,
    RemoteEngine,
)
from pilotlight_backend.testing.conformance.listener import (
    Listener,
    eventually,
    request_of,
    run,
    submit,
    within,
)
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from pilotlight_isolation.backend import IsolatedBackend
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.isolation.conftest import PLUGIN, left

PROMPT = [104, 105]
FOREVER = 4000


def alive(pid: int) -> bool:
    """Return whether the process exists, also as a zombie."""
    return Path(f"/proc/{pid}").exists()


# ── death ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_death_fails_every_request_with_its_name(load, number):
    """Running or queued, each ends at once; the log and the error say which signal it was."""
    engine = load(parallel=2, token_seconds=0.005)
    asked = [submit(engine, request_of(PROMPT, FOREVER)) for _ in range(5)]
    for one in asked[:2]:
        one.listener.wait_tokens()

    os.kill(engine.pid, number)

    for one in asked:
        end = one.listener.wait()
        assert isinstance(end, Failed)
        assert isinstance(end.error, InferenceFailed)
        assert str(end.error) == f"0.fake: the engine's process was killed by {number.name}"
    assert engine.stats().dead
    assert engine.stats().slots_busy == engine.stats().queued == 0


def test_abort_in_the_middle_of_an_answer(load):
    """What native code does: the tokens until then have come."""
    engine = load(abort_after=3)
    asked = submit(engine, request_of(PROMPT, FOREVER))
    assert isinstance(asked.listener.wait(), Failed)
    assert len(asked.listener.tokens) <= 3
    assert engine.stats().dead


def test_dead_engine_refuses_and_closes(load):
    """No call to it waits without end."""
    engine = load()
    os.kill(engine.pid, signal.SIGKILL)
    assert eventually(lambda: engine.stats().dead)

    listener = Listener()
    with pytest.raises(EngineClosed):
        engine.submit(request_of(PROMPT), listener)
    with pytest.raises(EngineClosed):
        engine.tokenize("hi", special=False)
    with pytest.raises(EngineClosed):
        engine.vocabulary()
    within(engine.close)
    within(engine.close)
    assert not listener.events


def test_call_under_way_fails_with_its_process(load):
    """A call to a process that hangs raises when it is killed, with the reason."""
    engine = load()
    os.kill(engine.pid, signal.SIGSTOP)
    raised = []

    def tokenize():
        with pytest.raises(InferenceFailed) as caught:
            engine.tokenize("hi", special=False)
        raised.append(str(caught.value))

    thread = threading.Thread(target=tokenize)
    thread.start()
    assert eventually(lambda: engine._client._calls)
    engine.kill("it hung")
    within(thread.join)
    assert raised == ["it hung"]


def test_death_while_it_loads(backend, tmp_path):
    """The load raises; a later one may succeed."""
    facts = backend.probe(FakeModel(load_error="abort").write(tmp_path / "m.fake"))
    with pytest.raises(
        LoadFailed, match=r"m\.fake: the process that loads it was killed by SIGABRT"
    ):
        backend.load(facts, LoadOptions(), lambda _: None)


def test_other_engines_go_on(load):
    """One dies, and another one's answer is whole."""
    dying, other = load(abort_after=3), load(token_seconds=0.002)
    whole = submit(other, request_of(PROMPT, 200))
    whole.listener.wait_tokens()
    assert isinstance(submit(dying, request_of(PROMPT)).listener.wait(), Failed)
    assert len(whole.listener.finish() and whole.listener.tokens) == 200


def test_deaths_leave_nothing_behind(load):
    """After engines that were killed, aborted or closed: no process, thread or open file."""
    before = left()
    for keys in ({"abort_after": 1}, {}, {}) * 3:
        engine = load(**keys)
        asked = submit(engine, request_of(PROMPT, FOREVER))
        if keys:
            asked.listener.wait()
        else:
            asked.listener.wait_tokens()
            engine.kill("a test")
        within(engine.close)
        assert not alive(engine.pid)
    # An earlier test's engine may close the last of its files meanwhile.
    assert all(now <= then for now, then in zip(left(), before, strict=True))


@pytest.mark.parametrize(
    "function", ["os.pipe", "os.memfd_create", "selectors.DefaultSelector", "subprocess.Popen"]
)
def test_process_that_cannot_be_started_leaves_no_file(backend, tmp_path, monkeypatch, function):
    """Where there are too many open files, each further load would leave some."""

    def fail(*_args, **_options):
        raise OSError(errno.EMFILE, "Too many open files")

    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    before = left()
    monkeypatch.setattr(function, fail)
    with pytest.raises(OSError, match="Too many open files"):
        backend.load(facts, LoadOptions(), lambda _: None)
    monkeypatch.undo()
    assert left() == before


# ── hanging ─────────────────────────────────────────────────────────────────────────────────────


def test_hang_shows_in_the_steps_under_way(load):
    """The step stays where it is, until the process is killed for it."""
    engine = load(hang_after=2)
    asked = submit(engine, request_of(PROMPT, FOREVER))
    asked.listener.wait_tokens(2)
    assert eventually(lambda: any(step.number > 0 for step in engine.stats().under_way))
    (step,) = (step for step in engine.stats().under_way if step.number > 0)
    assert eventually(lambda: step in engine.stats().under_way)
    engine.kill("it hung")
    end = asked.listener.wait()
    assert (type(end.error), str(end.error)) == (InferenceFailed, "it hung")


def test_stopped_process_answers_no_question(load):
    """Whatever it hangs in: a question that stays open counts as a step that hangs."""
    engine = load()
    assert eventually(lambda: engine.stats().under_way[-1].number < -3)  # each was answered
    os.kill(engine.pid, signal.SIGSTOP)
    engine.stats()
    asked = {engine.stats().under_way[-1] for _ in range(100)}
    assert len(asked) <= 2
    engine.kill("a test")


def test_nothing_waits_for_a_process_that_reads_nothing(load):
    """More than any socket holds is submitted, cancelled and looked at, on one thread."""
    engine = load()
    os.kill(engine.pid, signal.SIGSTOP)
    prompt = list(range(200)) * 20

    def ask():
        asked = [submit(engine, request_of(prompt, 8)) for _ in range(500)]
        asked[0].ticket.cancel()
        return asked

    asked = within(ask, 20)
    assert engine.stats().queued == 500
    os.kill(engine.pid, signal.SIGCONT)
    assert asked[0].listener.finish().reason == "cancelled"
    for one in asked[1:]:
        assert len(one.listener.finish() and one.listener.tokens) == 8


def test_process_that_does_not_close_is_killed(load, monkeypatch):
    """A close ends, and so does what was under way, as closed."""
    monkeypatch.setattr("pilotlight_isolation.client._CLOSE_SECONDS", 0.1)
    engine = load(hang_after=1)
    asked = submit(engine, request_of(PROMPT, FOREVER))
    asked.listener.wait_tokens()
    within(engine.close)
    assert isinstance(asked.listener.wait().error, EngineClosed)
    assert not alive(engine.pid)


# ── signals, and the service's own end ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_stop_is_the_services_to_answer(load, number):
    """What is sent to a whole container ends no stream; its group's signals do not reach it."""
    engine = load(token_seconds=0.002)
    asked = submit(engine, request_of(PROMPT, 100))
    asked.listener.wait_tokens()
    os.kill(engine.pid, number)
    assert asked.listener.finish().reason == "length"
    assert os.getpgid(engine.pid) == engine.pid != os.getpgrp()


SERVICE = """
import sys
from pathlib import Path
from pilotlight_backend import LoadOptions
from pilotlight_isolation.backend import IsolatedBackend
from pilotlight_backend.testing.fake import FakeBackend
backend = IsolatedBackend(FakeBackend(), sys.argv[1])
engine = backend.load(backend.probe(Path(sys.argv[2])), LoadOptions(), lambda _: None)
print(engine.pid, flush=True)
if sys.argv[3] == "hold":
    engine.tokenize("hi", special=False)
sys.stdin.read()
"""

HOLDS_THE_INTERPRETER = """
from pilotlight_backend.testing import fake

class Held(fake.FakeBakingEngine):
    def tokenize(self, text, *, special):
        os.write(2, b"held\\n")
        ctypes.PyDLL(None).pause()  # keeps the interpreter's lock: no thread runs any more

fake.FakeBakingEngine = Held
"""


@pytest.mark.parametrize("held", [False, True], ids=["idle", "with every thread stopped"])
def test_process_ends_with_the_service(tmp_path, plugin, held):
    """The service is killed: its engine's process ends too, even where no Python runs in it."""
    name = plugin(HOLDS_THE_INTERPRETER)._plugin if held else PLUGIN
    path = FakeModel().write(tmp_path / "m.fake")
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE, name, str(path), "hold" if held else "idle"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        pid = int(service.stdout.readline())
        if held:
            assert b"held" in service.stderr.readline()
        assert alive(pid)
    finally:
        service.kill()
        service.communicate()
    assert eventually(lambda: not alive(pid))


# ── what it says ────────────────────────────────────────────────────────────────────────────────


def test_output_goes_to_the_log(plugin, tmp_path, caplog):
    """What is written to either standard stream is a line of the log, with the model's name."""
    source = "os.write(1, b'to out\\n')\nos.write(2, b'a half, ')\nos.write(2, b'and the rest')\n"
    backend = plugin(source)
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    engine = backend.load(facts, LoadOptions(), lambda _: None)
    engine.close()
    assert "m.fake: to out" in caplog.messages
    assert "m.fake: a half, and the rest" in caplog.messages


def test_log_records_keep_logger_and_level(plugin, tmp_path, caplog):
    backend = plugin("import logging\nlogging.getLogger('a.native').error('%s broke', 'it')\n")
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    backend.load(facts, LoadOptions(), lambda _: None).close()
    assert ("a.native", logging.ERROR, "m.fake: it broke") in caplog.record_tuples


@pytest.mark.parametrize(
    "source",
    ["raise ImportError('libnative.so')", "del pilotlight_register_backend"],
    ids=["an import that fails", "no hook"],
)
def test_plugin_that_does_not_work_fails_the_load(plugin, tmp_path, caplog, source):
    """The client learns no more than that; the log has the traceback."""
    backend = plugin(source)
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    before = left()
    with pytest.raises(LoadFailed, match=r"m\.fake: loading failed, see the log"):
        backend.load(facts, LoadOptions(), lambda _: None)
    assert "Traceback" in caplog.text
    # An earlier test's engine may close the last of its files meanwhile.
    assert all(now <= then for now, then in zip(left(), before, strict=True))


def test_backend_without_an_entry_point_cannot_be_isolated(tmp_path):
    """Only an installed plugin can be found by another process."""
    backend = IsolatedBackend(FakeBackend(name="nowhere"))
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    with pytest.raises(LoadFailed, match="'nowhere' has no entry point"):
        backend.load(facts, LoadOptions(), lambda _: None)


def test_process_that_says_nonsense_is_killed(plugin, tmp_path):
    """Memory that was written over may send anything: it fails what is under way there."""
    backend = plugin("""
from pilotlight_backend.testing import fake

class Wild(fake.FakeBakingEngine):
    def tokenize(self, text, *, special):
        os.write(int(sys.argv[1]), b"\\3\\0\\0\\0" + b"\\xc1" * 3)
        return []

fake.FakeBakingEngine = Wild
""")
    facts = backend.probe(FakeModel(token_seconds=0.005).write(tmp_path / "m.fake"))
    engine = backend.load(facts, LoadOptions(), lambda _: None)
    asked = submit(engine, request_of(PROMPT, FOREVER))
    asked.listener.wait_tokens()
    with pytest.raises(InferenceFailed):
        engine.tokenize("hi", special=False)
    assert isinstance(asked.listener.wait(), Failed)
    within(engine.close)
    assert not alive(engine.pid)


def test_refusal_that_only_the_backend_knows_is_a_failure(plugin, tmp_path):
    """The service's side refuses what all backends refuse; the rest comes as the request's end."""
    backend = plugin("""
from pilotlight_backend import InvalidParameter
from pilotlight_backend.testing import fake

class Strict(fake.FakeBakingEngine):
    def submit(self, request, emit):
        raise InvalidParameter("top_k", "top_k is too much")

fake.FakeBakingEngine = Strict
""")
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    engine = backend.load(facts, LoadOptions(), lambda _: None)
    end = submit(engine, request_of(PROMPT)).listener.wait()
    engine.close()
    assert str(end.error) == "top_k is too much"


def test_isolated_engine_is_a_remote_one(load):
    """The service knows by its type that a call may block."""
    engine = load()
    assert isinstance(engine, RemoteEngine)
    assert engine.pid != os.getpid()
    request = GenerateRequest(prompt=tuple(PROMPT), max_tokens=2)
    assert isinstance(run(engine, request).finish(), Finish)


def test_file_that_is_cut_short_under_a_loaded_model(tmp_path):
    """llama.cpp maps it: the engine may die of it, and no other process does."""
    backend = IsolatedBackend(LlamaCppBackend())
    path = tmp_path / "spark.gguf"
    path.write_bytes(backend.embedded().read_bytes())
    engine = backend.load(backend.probe(path), LoadOptions(threads=1), lambda _: None)
    prompt = engine.tokenize("What is 2+2?", special=False)
    assert run(engine, request_of(prompt, 4)).tokens
    os.truncate(path, 4096)
    end = submit(engine, request_of(prompt, 40)).listener.wait()
    assert isinstance(end, Failed)
    assert "SIGBUS" in str(end.error)
    within(engine.close)


def test_file_that_is_deleted_under_a_loaded_model(tmp_path):
    """What is mapped stays."""
    backend = IsolatedBackend(LlamaCppBackend())
    path = tmp_path / "spark.gguf"
    path.write_bytes(backend.embedded().read_bytes())
    engine = backend.load(backend.probe(path), LoadOptions(threads=1), lambda _: None)
    prompt = engine.tokenize("What is 2+2?", special=False)
    path.unlink()
    assert len(run(engine, request_of(prompt, 20)).tokens) == 20
    within(engine.close)


# ── what one request or call does to the others ─────────────────────────────────────────────────


@pytest.mark.parametrize("first", ["raises", "ends, and raises"])
def test_submit_that_raises_anything_ends_its_own_request(plugin, tmp_path, caplog, first):
    """Whatever a backend raises, the streams beside it go on; the log has the traceback."""
    end = "emit(Failed(InferenceFailed('ended')))" if first != "raises" else "pass"
    backend = plugin(f"""
from pilotlight_backend import Failed, InferenceFailed
from pilotlight_backend.testing import fake

class Crooked(fake.FakeBakingEngine):
    def submit(self, request, emit):
        if request.max_tokens == 7:
            {end}
            raise MemoryError("a prompt: secret")
        return super().submit(request, emit)

fake.FakeBakingEngine = Crooked
""")
    path = FakeModel(token_seconds=0.005).write(tmp_path / "m.fake")
    engine = backend.load(backend.probe(path), LoadOptions(parallel=2), lambda _: None)
    innocent = submit(engine, request_of(PROMPT, FOREVER))
    innocent.listener.wait_tokens()

    end = submit(engine, request_of(PROMPT, 7)).listener.wait()

    assert isinstance(end, Failed)
    assert isinstance(end.error, InferenceFailed)
    told = "the engine failed with MemoryError" if first == "raises" else "ended"
    assert str(end.error) == told
    assert "secret" not in caplog.text
    innocent.listener.wait_tokens(len(innocent.listener.tokens) + 5)
    assert eventually(lambda: engine.stats().queued == 0)
    innocent.ticket.cancel()
    assert isinstance(innocent.listener.wait(), Finish)
    engine.close()
    assert "the engine failed to accept a request" in caplog.text


def test_cancel_and_stats_that_raise_leave_the_others_alone(plugin, tmp_path, caplog):
    """An order that fails is logged, and the process takes the next one."""
    backend = plugin("""
from pilotlight_backend.testing import fake

class Ticket:
    def cancel(self):
        raise ValueError("no")

class Crooked(fake.FakeBakingEngine):
    crooked = False
    def submit(self, request, emit):
        ticket = super().submit(request, emit)
        if request.max_tokens == 7:
            self.crooked = True
            return Ticket()
        return ticket
    def stats(self):
        if self.crooked:
            raise ValueError("no")
        return super().stats()

fake.FakeBakingEngine = Crooked
""")
    path = FakeModel(token_seconds=0.005).write(tmp_path / "m.fake")
    engine = backend.load(backend.probe(path), LoadOptions(parallel=2), lambda _: None)
    innocent = submit(engine, request_of(PROMPT, FOREVER))
    crooked = submit(engine, request_of(PROMPT, 7))
    crooked.listener.wait_tokens()
    crooked.ticket.cancel()
    engine.stats()
    assert isinstance(crooked.listener.wait(), Finish)
    innocent.listener.wait_tokens(len(innocent.listener.tokens) + 5)
    innocent.ticket.cancel()
    assert isinstance(innocent.listener.wait(), Finish)
    engine.close()
    assert "the message Cancel failed" in caplog.text
    assert "the engine's stats failed" in caplog.text


def test_call_that_hangs_shows_in_the_steps_under_way(plugin, tmp_path):
    """Beside a process that answers every question: with the tokens that it has to do with."""
    backend = plugin("""
import threading
from pilotlight_backend.testing import fake

class Hanging(fake.FakeBakingEngine):
    def tokenize(self, text, *, special):
        threading.Event().wait()

fake.FakeBakingEngine = Hanging
""")
    path = FakeModel().write(tmp_path / "m.fake")
    engine = backend.load(backend.probe(path), LoadOptions(), lambda _: None)
    raised = []

    def tokenize():
        with pytest.raises(InferenceFailed) as caught:
            engine.tokenize("x" * 400, special=False)
        raised.append(str(caught.value))

    thread = threading.Thread(target=tokenize)
    thread.start()
    assert eventually(lambda: engine._client._call_steps)
    (call,) = engine._client._call_steps.values()
    assert call.tokens == 100
    for _ in range(3):  # it answers one look after the other, and the call stays
        looked = engine._client._stats_received
        assert call in engine.stats().under_way
        assert eventually(lambda seen=looked: engine._client._stats_received > seen)
    numbers = [step.number for step in engine.stats().under_way]
    assert len(set(numbers)) == len(numbers)
    engine.kill("it hung")
    within(thread.join)
    assert raised == ["it hung"]
    assert not engine._client._call_steps


def test_line_that_never_ends_is_logged_in_pieces(plugin, tmp_path, caplog):
    """What a process writes is not kept until it comes to an end that may never come."""
    backend = plugin("os.write(1, b'start ' + b'x' * 300_000 + b' end')\n")
    facts = backend.probe(FakeModel().write(tmp_path / "m.fake"))
    backend.load(facts, LoadOptions(), lambda _: None).close()
    pieces = [message.removeprefix("m.fake: ") for message in caplog.messages if "xxx" in message]
    assert "".join(pieces) == "start " + "x" * 300_000 + " end"
    assert max(map(len, pieces)) <= 1 << 16
    assert len(pieces) > 4

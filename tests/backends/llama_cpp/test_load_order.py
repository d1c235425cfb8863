"""What a load does at once: llama.cpp loads, files are read, and the engine is imported."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from pilotlight_backend import LoadOptions, ModelFileInvalid, ModelUnsupported
from pilotlight_llama_cpp import backend as module
from pilotlight_llama_cpp import guarded_thread
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.model import LlamaModel

OPTIONS = LoadOptions(parallel=1, context_length=512, threads=1)

AT_ONCE = """
import sys, threading
from pathlib import Path
from pilotlight_backend import LoadOptions
from pilotlight_llama_cpp import backend as module
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.model import LlamaModel

meeting = threading.Barrier(3, timeout=30)
read_ahead = module.read_ahead

def meet_and_read(paths, progress):
    meeting.wait()
    read_ahead(paths, progress)

class MeetAtEngine:
    def find_spec(self, name, *_):
        if name == "pilotlight_llama_cpp.generation_load":
            meeting.wait()

def meet_and_load(*given):
    assert "pilotlight_llama_cpp.context" not in sys.modules
    meeting.wait()
    return load(*given)

load, LlamaModel._load = LlamaModel._load, meet_and_load
module.read_ahead = meet_and_read
sys.meta_path.insert(0, MeetAtEngine())
backend = LlamaCppBackend()
phases = []
engine = backend.load(
    backend.probe(Path(sys.argv[1])),
    LoadOptions(parallel=1, context_length=512, threads=1),
    lambda progress: phases.append(progress.phase),
)
engine.close()
print(meeting.broken, *dict.fromkeys(phases))
"""


@pytest.fixture
def closed(monkeypatch):
    """Return the models that were closed."""
    closed, close = [], LlamaModel.close

    def note(model):
        closed.append(model)
        close(model)

    monkeypatch.setattr(LlamaModel, "close", note)
    return closed


def threads_of(path):
    """Return the threads that a load of *path* left, but for those that are about to end."""
    left = [one for one in threading.enumerate() if path.name in one.name]
    for one in left:
        one.join(10)
    return [one.name for one in left if one.is_alive()]


def test_llama_cpp_loads_while_files_are_read_and_the_engine_is_imported(random_model):
    """All three meet, so none waits for another; the phases are reported in order."""
    found = subprocess.run(
        [sys.executable, "-c", AT_ONCE, str(random_model)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "False read load warm\n"


def test_import_that_fails_fails_the_load(random_model, monkeypatch, closed):
    """The weights, which are loaded by then, are freed."""

    def broken(*_):
        raise ImportError("no engine")

    monkeypatch.setattr(module, "_import_engine", broken)
    backend = LlamaCppBackend()
    with pytest.raises(ImportError, match="no engine"):
        backend.load(backend.probe(random_model), OPTIONS, lambda _: None)
    (model,) = closed
    assert model.pointer is None


@pytest.mark.parametrize(
    "failure", [b"m.cpp:5: GGML_ASSERT(x) failed", None], ids=["abort", "error"]
)
def test_file_that_llama_cpp_refuses_is_not_read_to_its_end(
    random_model, monkeypatch, tmp_path, failure
):
    """A large one on a slow disk would take minutes, for a load that has failed."""
    path = shutil.copy(random_model, tmp_path / "refused.gguf")  # an abort leaves its thread
    failed = threading.Event()

    def refuse(*_):
        failed.set()
        if failure is not None:
            guarded_thread._receive(failure)
        raise ModelFileInvalid(path, "llama.cpp cannot load it")

    def read_ahead(_, progress):
        assert failed.wait(30)
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            progress(1)
            time.sleep(0.001)

    monkeypatch.setattr(LlamaModel, "_load", refuse)
    monkeypatch.setattr(module, "read_ahead", read_ahead)
    backend, phases = LlamaCppBackend(), []
    with pytest.raises(ModelFileInvalid if failure is None else ModelUnsupported):
        backend.load(backend.probe(path), OPTIONS, lambda one: phases.append(one.phase))
    assert "load" not in phases


class GivenUp(Exception):
    pass


@pytest.mark.parametrize("phase", ["read", "load", "warm"])
def test_load_that_is_given_up_leaves_nothing(random_model, closed, phase):
    """Whatever it does at the time."""

    def progress(report):
        if report.phase == phase:
            raise GivenUp

    backend = LlamaCppBackend()
    with pytest.raises(GivenUp):
        backend.load(backend.probe(random_model), OPTIONS, progress)
    assert threads_of(random_model) == []
    assert all(model.pointer is None for model in closed)
    assert len(set(closed)) == (phase == "warm")  # until then llama.cpp has made none


def test_vocabulary_is_read_to_its_end_before_the_model_is_freed(random_model, monkeypatch):
    """On another thread, which a load that is given up would leave with a freed pointer."""
    events, warming = [], threading.Event()
    read, close = LlamaModel.read_control, LlamaModel.close

    def slow_read(model):
        assert warming.wait(10)
        read(model)
        events.append("read")

    def note_close(model):
        events.append("close")
        close(model)

    def progress(report):
        if report.phase == "warm":
            # Long enough for a load that does not wait to close the model.
            threading.Timer(0.2, warming.set).start()
            raise GivenUp

    monkeypatch.setattr(LlamaModel, "read_control", slow_read)
    monkeypatch.setattr(LlamaModel, "close", note_close)
    backend = LlamaCppBackend()
    with pytest.raises(GivenUp):
        backend.load(backend.probe(random_model), OPTIONS, progress)
    assert events[0] == "read"


def test_file_that_cannot_be_read_is_an_error_of_the_model(random_model, monkeypatch):
    """llama.cpp maps it meanwhile, and does not touch its weights."""

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "read_ahead", fail)
    backend = LlamaCppBackend()
    with pytest.raises(ModelFileInvalid, match="it cannot be read: Input/output error"):
        backend.load(backend.probe(random_model), OPTIONS, lambda _: None)
    assert threads_of(random_model) == []

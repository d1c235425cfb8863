"""What the runtime does to the process it lives in: its memory, its files, its other threads."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pilotlight_backend import LoadOptions
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import GREEDY, Answer, prompt_of

pytestmark = pytest.mark.slow

LOAD_AND_ANSWER = """
import json, os, sys
from pathlib import Path

# Audit events see Python alone: what the library does shows in /proc.
def sockets():
    open_files = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum("socket:" in os.readlink(file) for file in open_files if os.path.lexists(file))

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1])

from tests.backends.answer import GREEDY, Answer, prompt_of
from pilotlight_backend import LoadOptions
from pilotlight_onnx.backend import OnnxBackend

backend = OnnxBackend()
facts = backend.probe(backend.embedded())
before, held, opened = sockets(), [], []
for _ in range(int(sys.argv[1])):
    engine = backend.load(facts, LoadOptions(), lambda progress: None)
    answers = [Answer(engine, prompt_of(n), max_tokens=4, sampling=GREEDY) for n in range(4)]
    assert all(len(answer.tokens) == 4 for answer in answers)
    opened.append(sockets() - before)
    engine.close()
    held.append(memory())
print(json.dumps({"held": held, "sockets": opened}))
"""


def run(rounds: int, home: Path) -> dict[str, list[int]]:
    """Load, answer and unload in a process of its own; return what each round left behind."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "ORT_"))}
    output = subprocess.run(
        [sys.executable, "-c", LOAD_AND_ANSWER, str(rounds)],
        env={**kept, "HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    return json.loads(output)


def test_unloading_gives_the_memory_back(tmp_path):
    """After 20 rounds of loading and unloading the process holds what it held after the first."""
    held = run(20, tmp_path)["held"]
    assert len(held) == 20
    assert held[-1] <= held[0] * 1.1


def test_runtime_reports_to_nobody(tmp_path):
    """The runtime's telemetry is off: no file in the home folder, no socket."""
    home = tmp_path / "home"
    home.mkdir()
    assert run(1, home)["sockets"] == [0]
    assert list(home.rglob("*")) == []


def test_prompt_that_is_read_stops_no_other_thread():
    """While a model loads and reads long prompts, another thread goes on: the GIL is free.

    It counts instead of measuring time: bindings that hold the GIL let it count to nearly nothing.
    """
    backend = OnnxBackend()
    counted, ends = [0], threading.Event()

    def count():
        while not ends.is_set():
            counted[0] += 1
            time.sleep(0)

    counter = threading.Thread(target=count)
    engine = backend.load(
        backend.probe(backend.embedded()), LoadOptions(chunk=1024), lambda _progress: None
    )
    counter.start()
    before = counted[0]
    answer = Answer(engine, prompt_of(1, 1000), max_tokens=1, sampling=GREEDY)
    assert len(answer.tokens) == 1
    after = counted[0]
    ends.set()
    counter.join()
    engine.close()
    assert after - before > 100

"""What earlier loads took, from one run to the next."""

import sys
import threading
from pathlib import Path

import pytest

from pilotlight.models.loading.history import LoadHistory, model_key
from pilotlight.models.loading.progress import LoadTimes
from pilotlight_backend import ModelFacts


def test_the_next_run_knows(tmp_path):
    """What one process notes, another one reads; another model has times of its own."""
    folder = tmp_path / "not/yet/there"
    LoadHistory(folder).add("a", LoadTimes(3.0, 1.0))
    again = LoadHistory(folder)
    assert again.of("a") == (LoadTimes(3.0, 1.0),)
    again.add("b", LoadTimes(1.0, 1.0))
    last = LoadHistory(folder)
    assert (last.of("a"), last.of("b")) == ((LoadTimes(3.0, 1.0),), (LoadTimes(1.0, 1.0),))
    assert [path.name for path in folder.iterdir()] == ["loads.json"]


def test_only_the_last_loads_count(tmp_path):
    """Of many loads the latest eight are kept."""
    history = LoadHistory(tmp_path)
    for number in range(20):
        history.add("a", LoadTimes(float(number), 0.0))
    assert [times.reading for times in LoadHistory(tmp_path).of("a")] == list(range(12, 20))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"a": [{"reading": "x"}]}'])
def test_a_damaged_file_is_no_history(tmp_path, content):
    """A file that cannot be read is overwritten, not an error."""
    (tmp_path / "loads.json").write_bytes(content)
    history = LoadHistory(tmp_path)
    assert history.of("a") == ()
    history.add("a", LoadTimes(1.0, 1.0))
    assert LoadHistory(tmp_path).of("a") == (LoadTimes(1.0, 1.0),)


def test_without_a_folder_it_lasts_as_long_as_the_process(tmp_path):
    """No folder, and one that cannot be made, keep nothing for others and refuse nothing."""
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file/inside"):
        history = LoadHistory(folder)
        history.add("a", LoadTimes(1.0, 1.0))
        history.add("a", LoadTimes(2.0, 1.0))
        assert len(history.of("a")) == 2
        assert LoadHistory(folder).of("a") == ()


def test_what_earlier_runs_noted_is_kept_by_one_that_only_adds(tmp_path):
    """A load that ends before the file was read is kept, after those in the file."""
    earlier = LoadHistory(tmp_path)
    earlier.add("a", LoadTimes(1.0, 1.0))
    earlier.add("b", LoadTimes(2.0, 1.0))
    LoadHistory(tmp_path).add("a", LoadTimes(3.0, 1.0))
    last = LoadHistory(tmp_path)
    assert [times.reading for times in last.of("a")] == [1.0, 3.0]
    assert [times.reading for times in last.of("b")] == [2.0]


@pytest.mark.usefixtures("switching")
def test_loads_that_end_side_by_side(tmp_path):
    """Several threads note and ask at the same time: every load is kept, in the file too."""
    history = LoadHistory(tmp_path)
    failures: list[Exception] = []

    def run(number: int) -> None:
        try:
            for turn in range(40):
                history.of(f"nobody {number} {turn}")
                history.add(f"{number} {turn // 8}", LoadTimes(float(turn), 0.0))
        except Exception as error:  # noqa: BLE001 - whatever a thread raises fails the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    again = LoadHistory(tmp_path)
    for number in range(4):
        kept = [times.reading for block in range(5) for times in again.of(f"{number} {block}")]
        assert kept == list(range(40))


@pytest.fixture
def switching():
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_key_tells_another_file_of_the_name():
    """The same name with other weights is another model."""
    facts = [
        ModelFacts(path=Path("/m/a.gguf"), architecture="x", context_length=1, size_bytes=size)
        for size in (1, 2)
    ]
    assert model_key("b", facts[0]) != model_key("b", facts[1])
    assert model_key("b", facts[0]) != model_key("c", facts[0])

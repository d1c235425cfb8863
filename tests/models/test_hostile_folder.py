"""A models folder that means harm: it is looked through, and stops nothing."""

import errno
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pilotlight.models.catalog import ModelEntry, ModelOptions, in_folder_of
from pilotlight.models.discovery import Discovery
from pilotlight.models.listing import describe
from pilotlight.models.loading.failure import load_failed
from pilotlight.models.loading.history import LoadHistory, LoadTimes
from pilotlight.models.registry import Registry
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend

NOBODY = 65534


@pytest.fixture
def discovery(tmp_path: Path, backend, no_plugins) -> Discovery:  # noqa: ARG001
    backends = {"fake": backend, "llama_cpp": LlamaCppBackend(), "onnx": OnnxBackend()}
    return Discovery(tmp_path, Registry(backends))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: os.mkfifo(folder / "pipe.gguf"),
        lambda folder: (folder / "zero.gguf").symlink_to("/dev/zero"),
        lambda folder: (folder / "self.gguf").symlink_to(folder / "self.gguf"),
        lambda folder: (folder / "up").symlink_to(folder, target_is_directory=True),
        lambda folder: (folder / "root").symlink_to("/", target_is_directory=True),
        lambda folder: os.mkfifo(_made(folder / "onnx") / "genai_config.json"),
        lambda folder: _made(Path(*[folder, *["deep"] * 60])),
        lambda folder: (folder / "n").write_bytes(b"GGUF" + b"\xff" * 100),
        lambda folder: (folder / "n-00000-of-00000.gguf").write_bytes(b"GGUF"),
        lambda folder: (folder / "n-00004-of-00003.gguf").write_bytes(b"GGUF"),
    ],
    ids=[
        *("pipe", "device", "circle", "parent", "root", "folder with a pipe", "deep", "garbage"),
        *("no parts", "a part too many"),
    ],
)
def test_good_model_beside_harm_is_found(tmp_path, discovery, harm):
    """The folder is gone through in a moment, and the model that is one is listed."""
    FakeModel().write(tmp_path / "good.fake")
    harm(tmp_path)
    found = within(discovery.scan, 20)
    assert "good" in [one.entry.name for one in found]


@pytest.mark.parametrize(
    ("file", "name"),
    [(b"bad\xff", "bad\N{REPLACEMENT CHARACTER}"), (b" Spaced ", "spaced"), ("É".encode(), "é")],
)
def test_name_is_one_that_a_request_can_say(tmp_path, discovery, file, name):
    """A file's name is bytes; a model's is text, which JSON can hold, trimmed and lower-case."""
    FakeModel().write(tmp_path / os.fsdecode(file + b".fake"))
    (found,) = discovery.scan()
    assert found.entry.name == found.file == name
    assert json.loads(msgspec.json.encode(found.entry.name)) == name


def test_fault_of_a_file_whose_name_is_not_utf_8(tmp_path, discovery):
    """The list of models can say it: a name in it is text, and so is what is wrong."""
    (tmp_path / os.fsdecode(b"bad\xff.gguf")).write_bytes(b"GGUF")
    listed = describe([one.entry for one in discovery.scan()], discovery._registry)
    (said,) = json.loads(msgspec.json.encode([one.error for one in listed]))
    assert said == "bad?.gguf: the file ends within its header"


def test_link_that_leads_nowhere_is_named(tmp_path, discovery):
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "blobs" / "0123")
    (found,) = discovery.scan()
    assert found.entry.name == "gone"
    assert str(found.claim) == "gone.gguf: it is a broken link"


def test_parts_that_a_name_announces_are_not_looked_for_in_vain(tmp_path, discovery, monkeypatch):
    """A name can announce 99,999 parts; a scan ends at the first that is missing."""
    (tmp_path / "big-00001-of-99999.gguf").write_bytes(b"GGUF")
    discovery.scan()
    looked, stat = [], Path.stat

    def counted(path, **options):
        looked.append(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", counted)
    discovery.scan()
    assert len(looked) < 50


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """Return a folder that every user may read; if the test runs as root, run it as nobody."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield folder
        if root:
            os.seteuid(0)
        for one in folder.iterdir():
            if one.is_dir():
                one.chmod(0o755)


class _Selective(FakeBackend):
    """Knows no architecture."""

    def knows_architecture(self, _: str) -> bool:
        return False


@pytest.mark.parametrize("mode", [0o444, 0o311, 0], ids=["no entry", "no list", "neither"])
def test_folder_that_may_not_be_read_is_ignored(ordinary_user, no_plugins, caplog, mode):  # noqa: ARG001
    """With a warning, once; the models beside it are found."""
    folder = ordinary_user
    FakeModel().write(folder / "good.fake")
    for name in ("m.gguf", "p-00002-of-00003.gguf", "mmproj.gguf"):
        (locked := folder / "locked").mkdir(exist_ok=True)
        (locked / name).write_bytes(b"GGUF")
    locked.chmod(mode)
    discovery = Discovery(folder, Registry({"fake": _Selective()}))
    for _ in range(2):
        assert [one.entry.name for one in discovery.scan()] == ["good"]
        assert discovery.named("good").name == "good"
    refused = [one.message for one in caplog.records if "is ignored" in one.message]
    assert len(refused) == len(set(refused)) >= 1
    assert all(message.endswith("is ignored: Permission denied") for message in refused)


def test_model_that_may_not_be_read_says_so(ordinary_user, registry):
    """After the cool-down a request tries again: it may have been allowed since."""
    locked = ordinary_user / "locked"
    locked.mkdir()
    path = FakeModel().write(locked / "m.fake")
    locked.chmod(0o444)
    options = ModelOptions(path=str(path), chat_template="t")
    assert in_folder_of(path, "t") == locked / "t"
    with pytest.raises(PermissionError) as caught:
        registry.claim(path, None)
    failure = load_failed(ModelEntry("m", path, "configured", options), caught.value)
    assert failure.message == "the model 'm' cannot be read: Permission denied"
    assert failure.retry_after == 10.0


def test_other_files_do_not_count_as_folders(tmp_path, discovery, monkeypatch):
    """The bound of a scan is for folders that it reads."""
    monkeypatch.setattr("pilotlight.models.discovery.MAX_FOLDERS", 3)
    for number in range(10):
        (tmp_path / f"a{number}.json").write_text("{}")
    FakeModel().write(_made(tmp_path / "z") / "good.fake")
    assert [one.entry.name for one in discovery.scan()] == ["good"]


async def test_file_that_is_replaced_under_a_loaded_model(pool, write, discovery, tmp_path):
    """What is loaded stays; the next look at the folder finds the new file."""
    from tests.models.test_pool import use  # noqa: PLC0415 - what the tests of the pool ask with

    entry = write("m", reply="old")
    loaded = await use(pool, entry)
    discovery.scan()
    FakeModel(reply="new", architecture="other").write(tmp_path / "new")
    (tmp_path / "new").replace(entry.path)

    assert (await use(pool, entry)) is loaded
    (found,) = discovery.scan()
    assert found.claim.facts.architecture == "other"


async def test_file_that_is_deleted_under_a_loaded_model(pool, write):
    """It is served until it is unloaded; then it is missing."""
    from tests.models.test_pool import use  # noqa: PLC0415

    entry = write("m", reply="old")
    loaded = await use(pool, entry)
    entry.path.unlink()
    assert (await use(pool, entry)) is loaded


class FullDisk(io.FileIO):
    """A file for which there is no room."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_costs_the_load_times_alone(tmp_path, monkeypatch):
    """Nothing half-written stays, and what is known is kept in memory."""
    history = LoadHistory(tmp_path)
    history.add("a", LoadTimes(1.0, 2.0))
    monkeypatch.setattr("pilotlight.models.loading.history.os.fdopen", FullDisk)
    history.add("a", LoadTimes(3.0, 4.0))
    monkeypatch.undo()
    assert list(history.of("a")) == [LoadTimes(1.0, 2.0), LoadTimes(3.0, 4.0)]
    assert list(LoadHistory(tmp_path).of("a")) == [LoadTimes(1.0, 2.0)]
    assert len(list(tmp_path.iterdir())) == 1

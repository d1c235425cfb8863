"""The models folder: which models it has, and their names."""

import logging
import os
from pathlib import Path

import pytest

from pilotlight.models.discovery import MAX_DEPTH, Discovery
from pilotlight.models.listing import describe
from pilotlight.models.registry import Claim, Registry
from pilotlight.models.resolver import Resolver
from pilotlight_backend import ModelFileInvalid, ModelUnsupported
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.models.files import put


class _CountingBackend(FakeBackend):
    """Remembers what it was asked to probe."""

    def __init__(self) -> None:
        super().__init__()
        self.probed: list[str] = []

    def probe(self, path: Path):
        self.probed.append(path.name)
        return super().probe(path)


@pytest.fixture
def counting() -> _CountingBackend:
    return _CountingBackend()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def discovery(folder, counting, no_plugins) -> Discovery:  # noqa: ARG001
    return Discovery(folder, Registry({"fake": counting}))


def test_missing_folder_holds_nothing(registry, tmp_path):
    """The models folder may be absent, or no folder."""
    assert Discovery(tmp_path / "none", registry).scan() == []
    (tmp_path / "file").write_text("x")
    assert Discovery(tmp_path / "file", registry).scan() == []


def test_files_and_files_in_folders_are_found(discovery, folder):
    """Models are found by their content; what is hidden or no model is passed over."""
    put(folder, "Top.fake", architecture="qwen3")
    put(folder, "Lone/file.fake")
    put(folder, "both/one.fake")
    put(folder, "both/two.fake")
    put(folder, "deep/er/m.fake")
    put(folder, ".hidden/m.fake")
    put(folder, ".m.fake")
    (folder / "Lone/readme.md").write_text("x")
    (folder / "dangling.fake").symlink_to(folder / "nowhere")
    found = discovery.scan()
    assert [(one.entry.name, one.file, one.folder) for one in found] == [
        ("file", "file", "lone"),
        ("top", "top", None),
        ("one", "one", None),
        ("two", "two", None),
        ("m", "m", "er"),
    ]
    assert found[1].claim.facts.architecture == "qwen3"
    assert {one.entry.source for one in found} == {"discovered"}


def test_every_model_has_a_name_of_its_own(discovery, folder):
    """Where a file's name is taken, the model is called as its path inside the folder is."""
    put(folder, "a/model.fake")
    put(folder, "b/model.fake")
    put(folder, "b/model.x.fake")
    put(folder, "model.fake")
    names = [(one.entry.name, one.file) for one in discovery.scan()]
    assert names == [
        ("model", "model"),
        ("b/model", "model"),
        ("model.x", "model.x"),
        ("model.fake", "model"),
    ]


def test_configured_file_is_the_configured_model(discovery, folder, read):
    """A file that models.yaml names is that model, with its options; its name is taken."""
    put(folder, "m.fake")
    put(folder, "named.fake")
    configured = read("named: {path: models/m.fake, parallel: 1}")
    found = discovery.scan(configured)
    assert found[0].entry is configured[0]
    assert found[0].file == "m"
    assert found[1].entry.name == "named.fake"


def test_damaged_file_is_found_with_its_error(discovery, folder):
    """A model that cannot be read is there all the same, and says why it is not served."""
    (folder / "bad.fake").write_text("{")
    (one,) = discovery.scan()
    assert one.entry.name == "bad"
    assert isinstance(one.claim, ModelFileInvalid)


def test_file_is_probed_once(discovery, folder, counting):
    """A second scan lists folders and reads no header, of models and of other files."""
    put(folder, "m.fake")
    put(folder, "inside/n.fake")
    (folder / "bad.fake").write_text("{")
    (folder / "readme.md").write_text("x")
    first = discovery.scan()
    assert sorted(counting.probed) == ["bad.fake", "inside", "m.fake", "n.fake", "readme.md"]
    assert discovery.scan() == first
    assert len(counting.probed) == 5


def test_changed_file_is_probed_again(discovery, folder, counting):
    """A file that is written again, even to the same size, is read again; a deleted one is gone."""
    path = put(folder, "m.fake", architecture="one")
    discovery.scan()
    put(folder, "m.fake", architecture="two")
    os.utime(path, ns=(1, 1))
    (found,) = discovery.scan()
    assert found.claim.facts.architecture == "two"
    assert counting.probed == ["m.fake", "m.fake"]
    path.unlink()
    assert discovery.scan() == []


def test_folder_is_probed_again_when_a_file_inside_changes(discovery, folder, counting):
    """A model may be a folder: what is written inside it counts as its change."""
    path = put(folder, "whole/m.fake")
    discovery.scan()
    os.utime(path, ns=(1, 1))
    discovery.scan()
    assert counting.probed.count("whole") == 2


class _FolderBackend(FakeBackend):
    """Knows folders and no files."""

    def probe(self, path: Path):
        return FakeModel().facts(path) if path.is_dir() else None


def test_folder_may_be_a_model(folder, no_plugins):  # noqa: ARG001
    """A folder that a backend recognises is one model, dots in its name included."""
    put(folder, "Qwen2.5-onnx/x.fake")
    (found,) = Discovery(folder, Registry({"folders": _FolderBackend()})).scan()
    assert (found.entry.name, found.entry.path) == ("qwen2.5-onnx", folder / "Qwen2.5-onnx")
    assert isinstance(found.claim, Claim)


class _DeniedBackend(FakeBackend):
    def probe(self, path: Path):
        raise PermissionError(13, "denied", str(path))


def test_file_that_is_not_ours_to_read_is_passed_over(folder, no_plugins):  # noqa: ARG001
    """What the system denies is no model of ours."""
    put(folder, "m.fake")
    assert Discovery(folder, Registry({"denied": _DeniedBackend()})).scan() == []


# Files that are not served


def test_what_cannot_be_served_is_found_and_logged_once(discovery, folder, caplog):
    """Damage is a warning, other files beside models are not; neither is logged twice."""
    caplog.set_level(logging.INFO)
    put(folder, "draws.fake", unserved="it draws pictures")
    (folder / "torn.fake").write_text("{")
    found = discovery.scan()
    assert [type(one.claim) for one in found] == [ModelUnsupported, ModelFileInvalid]
    discovery.scan()
    levels = [one.levelname for one in caplog.records if "is not served" in one.message]
    assert levels == ["INFO", "WARNING"]


def test_what_changes_is_logged_again(discovery, folder, caplog):
    """A file that is damaged in another way is another warning."""
    (folder / "torn.fake").write_text("{")
    discovery.scan()
    (folder / "torn.fake").write_text('{"nobody": 1}')
    discovery.scan()
    assert len([one for one in caplog.records if "is not served" in one.message]) == 2


def test_what_is_unsupported_leaves_the_folders_name_to_the_model(discovery, folder):
    """What is no model by itself does not count among the models of its folder."""
    put(folder, "Qwen/model.fake")
    put(folder, "Qwen/imatrix.fake", unserved="it is an importance matrix")
    assert [(one.entry.name, one.folder) for one in discovery.scan()] == [
        ("imatrix", None),
        ("model", "qwen"),
    ]


@pytest.mark.parametrize(
    "name", ["mmproj.gguf", "MMPROJ-Llava-F16.GGUF", "llava.mmproj-q8_0.gguf", "mmproj-x.gguf"]
)
def test_projector_is_no_model(discovery, folder, caplog, name):
    """It is neither listed nor found nor logged, whole or damaged; the model beside it is."""
    put(folder, "Llava/model.fake")
    (folder / "Llava" / name).write_bytes(b"GGUF")
    assert [(one.entry.name, one.folder) for one in discovery.scan()] == [("model", "llava")]
    assert caplog.records == []


class _FileBackend(FakeBackend):
    """Knows every file."""

    def probe(self, path: Path):
        return FakeModel().facts(path) if path.is_file() else None


def test_model_that_is_called_like_a_projector_is_a_model(folder, no_plugins):  # noqa: ARG001
    """What a backend serves is a model, whatever its name."""
    (folder / "mmproj-study.gguf").write_bytes(b"GGUF")
    discovery = Discovery(folder, Registry({"file": _FileBackend()}))
    assert [one.entry.name for one in discovery.scan()] == ["mmproj-study"]


def test_projector_of_models_yaml_is_no_model(discovery, folder, read):
    """Whatever its file is called."""
    put(folder, "vision.fake", unserved="it is a projector")
    put(folder, "m.fake")
    put(folder, "other.fake", unserved="it is an adapter")
    configured = read("mine: {path: models/m.fake, mmproj: vision.fake}")
    assert [one.entry.name for one in discovery.scan(configured)] == ["mine", "other"]
    assert [one.entry.name for one in discovery.scan()] == ["m", "other", "vision"]


# Split files


def test_split_model_is_one_model(discovery, folder):
    """It is called as its parts are without their numbers, and its later parts are no models."""
    for number in (1, 2, 3):
        put(folder, f"Big-{number:05}-of-00003.fake")
    (found,) = discovery.scan()
    assert (found.entry.name, found.file) == ("big", "big")
    assert found.entry.path.name == "Big-00001-of-00003.fake"


def test_part_without_its_first_is_invalid(discovery, folder):
    """It is listed, and names the part that is missing."""
    put(folder, "big-00002-of-00002.fake")
    (found,) = discovery.scan()
    assert found.entry.name == "big"
    assert "big-00001-of-00002.fake, is missing" in str(found.claim)


async def test_split_model_is_found_by_its_files_name_too(discovery, folder, registry):
    """A request by the name of its first part still finds it."""
    put(folder, "big-00001-of-00002.fake")
    put(folder, "big-00002-of-00002.fake")
    resolver = Resolver(registry, [], discovery, list)
    for name in ("big", "big-00001-of-00002", "big-00001-of-00002.fake", "Big:q4"):
        assert (await resolver.resolve(name)).name == "big"


# One file under several names


async def test_links_to_one_file_are_one_model(discovery, folder, registry):
    """It has the name of the first path that is no link; the others find it as well."""
    path = put(folder, "b.fake")
    (folder / "a.fake").symlink_to(path)
    (folder / "soft.fake").symlink_to(path)
    (folder / "hard.fake").hardlink_to(path)
    resolver = Resolver(registry, [], discovery, list)
    assert [one.name for one in await resolver.entries()] == ["b"]
    for name in ("a", "b", "soft", "hard"):
        assert (await resolver.resolve(name)).name == "b"


def test_link_to_a_configured_file_is_the_configured_model(discovery, folder, read):
    """A path is configured where it leads to a file that models.yaml names by another path."""
    path = put(folder, "m.fake")
    (folder / "z.fake").symlink_to(path)
    configured = read("named: {path: models/z.fake, parallel: 1}")
    assert {one.entry for one in discovery.scan(configured)} == set(configured)


def test_two_configured_names_of_one_file_are_two_models(discovery, folder, read):
    """Each has its own options; a name that neither has means the first."""
    put(folder, "m.fake")
    configured = read("one: {path: models/m.fake}\ntwo: {path: models/m.fake, parallel: 1}")
    (found,) = discovery.scan(configured)
    assert found.entry is configured[0]


def test_cache_of_the_hub_is_searched(discovery, folder):
    """Snapshots have the names, blobs the bytes; two revisions of one content are one model."""
    repository = folder / "hub" / "models--org--name"
    blob = put(repository, "blobs/0123456789abcdef.fake")
    for revision in ("aaaa", "bbbb"):
        snapshot = repository / "snapshots" / revision / "Q4"
        snapshot.mkdir(parents=True)
        (snapshot / "weights.fake").symlink_to(os.path.relpath(blob, snapshot))
    found = discovery.scan()
    assert {one.entry.name for one in found} == {"weights"}
    assert {one.entry.path.parent.parent.name for one in found} == {"aaaa"}


# Depth


def test_folders_are_searched_as_deep_as_caches_go(discovery, folder):
    """LM Studio's folders and deeper ones; a model one level too deep is listed with the reason."""
    put(folder, "publisher/repository/lm.fake")
    deepest = "/".join(f"f{number}" for number in range(MAX_DEPTH))
    put(folder, f"{deepest}/deep.fake")
    put(folder, f"{deepest}/more/deeper.fake")
    found = {one.entry.name: one.claim for one in discovery.scan()}
    assert set(found) == {"lm", "deep", "deeper"}
    assert isinstance(found["deep"], Claim)
    assert f"more than {MAX_DEPTH} folders" in str(found["deeper"])


def test_link_up_is_not_followed(discovery, folder):
    """A link to a folder above, or back, does not list a model twice or the whole disk."""
    put(folder, "m.fake")
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "root").symlink_to("/", target_is_directory=True)
    (folder / "self").symlink_to(folder, target_is_directory=True)
    assert [one.entry.name for one in discovery.scan()] == ["m"]


def test_link_to_a_folder_elsewhere_is_followed(discovery, folder, tmp_path):
    """Who keeps models on another disk links to them."""
    put(tmp_path / "disk", "publisher/m.fake")
    (folder / "disk").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert [one.entry.name for one in discovery.scan()] == ["m"]


# What a repeated look costs


def test_listing_again_probes_nothing(folder, counting, no_plugins):  # noqa: ARG001
    """Of models, files that are not served, and others: a second listing looks at times alone."""
    registry = Registry({"fake": counting})
    discovery = Discovery(folder, registry)
    put(folder, "m.fake")
    put(folder, "inside/n.fake")
    put(folder, "draws.fake", unserved="it draws pictures")
    (folder / "torn.fake").write_text("{")
    (folder / "readme.md").write_text("x")

    def listed():
        return describe(list({one.entry: None for one in discovery.scan()}), registry)

    first = listed()
    probes = len(counting.probed)
    assert probes == 6
    again = listed()
    assert [(one.entry.name, one.error) for one in again] == [
        (one.entry.name, one.error) for one in first
    ]
    assert len(counting.probed) == probes


def test_missing_part_that_comes_is_noticed(folder, counting, no_plugins):  # noqa: ARG001
    """The first part is probed again when another one changes."""
    discovery = Discovery(folder, Registry({"fake": counting}))
    put(folder, "m-00001-of-00002.fake")
    discovery.scan()
    put(folder, "m-00002-of-00002.fake")
    discovery.scan()
    assert counting.probed.count("m-00001-of-00002.fake") == 2

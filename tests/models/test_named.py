"""A model that is asked for by its file's name, in a folder of many."""

import random
from pathlib import Path

import pytest

from pilotlight.errors import ModelNotFound
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.discovery import Discovery
from pilotlight.models.registry import Registry
from pilotlight.models.resolver import Resolver
from pilotlight_backend.testing.fake import FakeBackend
from tests.models.files import put


class Selective(FakeBackend):
    """Knows two architectures, and counts the files that it was asked to probe."""

    def __init__(self) -> None:
        super().__init__()
        self.probed: list[Path] = []

    def knows_architecture(self, architecture: str) -> bool:
        return architecture in ("fake", "qwen3")

    def probe(self, path: Path):
        if path.is_file():
            self.probed.append(path)
        return super().probe(path)


@pytest.fixture
def backend() -> Selective:
    return Selective()


def resolver(folder, backend, configured=()) -> Resolver:
    registry = Registry({"fake": backend})
    return Resolver(registry, configured, Discovery(folder, registry), tuple)


@pytest.mark.slow
async def test_one_of_five_thousand_files_is_probed(tmp_path, backend, no_plugins):  # noqa: ARG001
    whole = put(tmp_path, "m0.fake").read_bytes()
    for number in range(1, 5000):
        (tmp_path / f"m{number}.fake").write_bytes(whole)
    for name in ("m4321", "M4321.fake", " m4321 "):
        backend.probed.clear()
        found = await resolver(tmp_path, backend).resolve(name)
        assert (found.name, found.path) == ("m4321", tmp_path / "m4321.fake")
        assert backend.probed == [tmp_path / "m4321.fake"]


async def test_projector_is_no_model(tmp_path, backend, no_plugins):  # noqa: ARG001
    """By its name, or because models.yaml says whose it is."""
    put(tmp_path, "vision.fake", unserved="it is a projector")
    (tmp_path / "mmproj-m.gguf").write_bytes(b"GGUF")
    options = ModelOptions(path="m.fake", mmproj=str(tmp_path / "vision.fake"))
    mine = ModelEntry("mine", put(tmp_path, "m.fake"), "configured", options)
    for name in ("vision", "mmproj-m", "mmproj-m.gguf"):
        with pytest.raises(ModelNotFound):
            await resolver(tmp_path, backend, [mine]).resolve(name)
    assert (await resolver(tmp_path, backend).resolve("vision")).name == "vision"


async def test_an_architecture_comes_before_the_file_of_its_name(tmp_path, backend, no_plugins):  # noqa: ARG001
    put(tmp_path, "qwen3.fake", architecture="fake")
    other = put(tmp_path, "z.fake", architecture="qwen3")
    assert (await resolver(tmp_path, backend).resolve("qwen3")).path == other


async def test_a_folder_s_architecture_comes_before_the_file_of_its_name(tmp_path, no_plugins):  # noqa: ARG001
    """Folders are probed in any case: ONNX Runtime GenAI's name their architecture freely."""

    class Folders(Selective):
        def probe(self, path: Path):
            return super().probe(path / "model.fake" if path.is_dir() else path)

    put(tmp_path, "odd.fake")
    put(tmp_path, "folder/model.fake", architecture="odd")
    found = await resolver(tmp_path, Folders()).resolve("odd")
    assert found.path == tmp_path / "folder"


async def test_a_backend_that_is_not_selective_is_asked_for_every_file(tmp_path, no_plugins):  # noqa: ARG001
    put(tmp_path, "qwen4.fake")
    other = put(tmp_path, "z.fake", architecture="qwen4")
    assert (await resolver(tmp_path, FakeBackend()).resolve("qwen4")).path == other


async def test_a_file_that_models_yaml_names_keeps_its_options(tmp_path, backend, no_plugins):  # noqa: ARG001
    path = put(tmp_path, "weights.fake")
    put(tmp_path, "other.fake")
    options = ModelOptions(path=str(path), parallel=3)
    named = ModelEntry("assistant", path, "configured", options)
    assert await resolver(tmp_path, backend, [named]).resolve("weights") is named
    assert backend.probed == [path]


async def test_a_damaged_file_is_found_by_its_name(tmp_path, backend, no_plugins):  # noqa: ARG001
    (tmp_path / "bad.fake").write_text("{")
    put(tmp_path, "good.fake")
    assert (await resolver(tmp_path, backend).resolve("bad")).path == tmp_path / "bad.fake"


NAMES = ["a.fake", "A.fake", "b.fake", "b.Q4.fake", "z/c.fake", "qwen3.fake",
         "a-00001-of-00002.fake", "a-00002-of-00002.fake",
         "sub/a.fake", "sub/deep/b.fake", "B/b.fake", "z/a.fake"]  # fmt: skip
ASKED = ["a", "a.fake", "b", "b.fake", "b.q4", "b.q4.fake", "c", "sub", "z", "qwen3", "fake",
         "sub/a", "z/a", "a:b", "link", "hard", "a-00001-of-00002", "none", ""]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
async def test_every_name_means_what_it_means_to_a_scan(tmp_path, backend, no_plugins, seed):  # noqa: ARG001
    """Random folders, with links and models.yaml."""
    chance = random.Random(seed)  # noqa: S311 - cases, the same each time
    names = chance.sample(NAMES, chance.randrange(1, len(NAMES)))
    files = [put(tmp_path, name, architecture=chance.choice(["fake", "qwen3"])) for name in names]
    if chance.random() < 0.5:
        (tmp_path / "link.fake").symlink_to(chance.choice(files))
    if chance.random() < 0.3:
        (tmp_path / "hard.fake").hardlink_to(chance.choice(files))
    if chance.random() < 0.3:
        (tmp_path / "lane").symlink_to(chance.choice(files).parent)
    configured = []
    if chance.random() < 0.5:
        path = chance.choice(files)
        name = chance.choice(["x", "a", "b"])
        configured = [ModelEntry(name, path, "configured", ModelOptions(path=str(path)))]
    for name in ASKED:
        found = [
            await _path(resolver(tmp_path, one, configured), name)
            for one in (backend, FakeBackend())
        ]
        assert found[0] == found[1], name


async def _path(resolver: Resolver, name: str) -> tuple[str, Path] | None:
    try:
        entry = await resolver.resolve(name)
    except ModelNotFound:
        return None
    return entry.name, entry.path

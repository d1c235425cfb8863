"""The projector of a model of the Hub, which comes with the model."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.models.fetch.address import Origin, parse_address, place
from pilotlight.models.fetch.download import Retries
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.fetch import fetch
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight_backend.projectors import best_projector
from tests.models.fetch.hub import HUB_ROOT, be_hub

pytestmark = pytest.mark.slow

MODEL = random.Random(1).randbytes(90_000)  # noqa: S311 - the same in each run
F16 = random.Random(2).randbytes(30_000)  # noqa: S311
FILES = {
    "m-Q4_K_M.gguf": MODEL,
    "m-Q8_0.gguf": MODEL[::-1],
    "mmproj-BF16.gguf": F16[::-1],
    "mmproj-F16.gguf": F16,
    "mmproj-other-F16.gguf": b"other",
    "split/s-00001-of-00002.gguf": MODEL[:5000],
    "split/s-00002-of-00002.gguf": MODEL[5000:9000],
    "own/m.gguf": MODEL,
    "own/mmproj-m-q8_0.gguf": F16[:2000],
    "README.md": b"text",
}


@pytest.fixture(autouse=True)
def hub(server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from huggingface_hub import utils  # noqa: PLC0415 - as late as the service does

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    be_hub(server, FILES)
    yield
    utils.close_session()


def bring(path: str, folder: Path, name: str | None = None, **options) -> list[Path]:
    """Fetch *path* of the repository with its projector."""
    address = parse_address(f"hf://owner/repo{path}")
    origin = Origin(address, place(address, folder, name).root, with_projector=True)
    return fetch([origin], **({"retries": Retries(tries=2, wait=0.0)} | options))


def names(folder: Path) -> list[str]:
    """Return what a scan of the folder sees."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name[0] != ".")


def test_projector_comes_beside_the_model(models_dir):
    """It is named after the model as it is here, and found by that name."""
    (models_dir / "text.gguf").parent.mkdir()
    (models_dir / "text.gguf").write_bytes(b"GGUF")
    projector, model = bring("/m-Q4_K_M.gguf", models_dir, name="Mine")
    assert (model.name, model.read_bytes()) == ("Mine.gguf", MODEL)
    assert (projector.name, projector.read_bytes()) == ("mmproj-Mine-F16.gguf", F16)
    assert best_projector("Mine.gguf", names(models_dir)) == projector.name
    assert best_projector("text.gguf", names(models_dir)) is None


@pytest.mark.parametrize("revision", ["", "@main"])
def test_projector_beside_a_model_comes_before_one_above(models_dir, revision):
    """And the model's folder may be any one of the repository."""
    projector, _ = bring(f"{revision}/own/m.gguf", models_dir)
    assert (projector.name, projector.read_bytes()) == ("mmproj-m-q8_0.gguf", F16[:2000])


def test_projector_of_a_split_model_goes_into_its_folder(models_dir):
    """It is in the repository, above the folder of the parts."""
    (root,) = bring("/split/s-00002-of-00002.gguf", models_dir)
    assert names(root) == ["mmproj-F16.gguf", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf"]
    assert (root / "mmproj-F16.gguf").read_bytes() == F16
    assert bring("/split/s-00002-of-00002.gguf", models_dir) == []


def test_quantizations_of_one_name_share_a_projector(server, models_dir):
    """The second one fetches no bytes of it."""
    bring("/m-Q4_K_M.gguf", models_dir)
    server.asked.clear()
    assert [path.name for path in bring("/m-Q8_0.gguf", models_dir)] == ["m-Q8_0.gguf"]
    assert {path for path, _ in server.asked} == {f"{HUB_ROOT}m-Q8_0.gguf"}
    assert names(models_dir) == ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-F16.gguf"]


def test_model_that_is_there_needs_no_request(server, models_dir, monkeypatch):
    """Neither for the projector nor for the list of files."""
    bring("/m-Q4_K_M.gguf", models_dir)
    server.asked.clear()
    monkeypatch.setattr(server, "other", lambda *_: pytest.fail("the Hub was asked"))
    assert bring("/m-Q4_K_M.gguf", models_dir) == []
    assert server.asked == []


@pytest.mark.parametrize("path", ["/m-Q4_K_M.gguf", "/mmproj-F16.gguf", "/README.md"])
def test_one_file_where_no_projector_fits(server, models_dir, path):
    """A text model, a projector by itself, and a file that is no model."""
    if path == "/m-Q4_K_M.gguf":
        for name in ("mmproj-F16.gguf", "mmproj-BF16.gguf"):
            del server.files[HUB_ROOT + name]
    assert [one.name for one in bring(path, models_dir)] == [path[1:]]


def test_without_a_projector_if_it_is_not_wanted(models_dir):
    address = parse_address("hf://owner/repo/m-Q4_K_M.gguf")
    assert fetch([Origin(address, models_dir / "m.gguf")]) == [models_dir / "m.gguf"]
    assert names(models_dir) == ["m.gguf"]


def test_progress_counts_both(models_dir):
    """From the first report that knows a size, and to the last byte."""
    seen: list[FetchProgress] = []
    bring("/m-Q4_K_M.gguf", models_dir, note=seen.append)
    assert {one.bytes_total for one in seen} <= {0, len(F16), len(F16) + len(MODEL)}
    assert seen[-1] == FetchProgress(len(F16) + len(MODEL), len(F16) + len(MODEL))


def test_interrupted_fetch_is_continued(server, models_dir):
    """A model without its projector never looks whole; what is there is not fetched again."""
    server.trouble = lambda path, _: 503 if "m-Q4" in path else None
    with pytest.raises(FetchFailed, match=r"m-Q4_K_M\.gguf: .*503, 2 times") as caught:
        bring("/m-Q4_K_M.gguf", models_dir)
    assert not caught.value.permanent
    assert names(models_dir) == ["mmproj-m-F16.gguf"]
    server.trouble = lambda *_: None
    server.asked.clear()
    assert [path.name for path in bring("/m-Q4_K_M.gguf", models_dir)] == ["m-Q4_K_M.gguf"]
    assert not [path for path, _ in server.asked if "mmproj" in path]


@pytest.mark.parametrize(
    ("status", "reason"), [(403, r"access is denied \(403\)"), (404, r"no such file \(404\)")]
)
def test_projector_that_is_refused(server, models_dir, status, reason):
    """The error names it, and the model is not fetched without it."""
    server.trouble = lambda path, _: status if "mmproj" in path else None
    with pytest.raises(FetchFailed, match=rf"hf://owner/repo/mmproj-F16\.gguf: {reason}") as caught:
        bring("/m-Q4_K_M.gguf", models_dir)
    assert caught.value.permanent
    assert names(models_dir) == []


def test_projector_with_a_wrong_sum(server, models_dir):
    """The Hub's sums are those of both files."""
    served = server.other

    def answer(handler, path):
        server.files[f"{HUB_ROOT}mmproj-F16.gguf"] = F16
        answered = served(handler, path)
        server.files[f"{HUB_ROOT}mmproj-F16.gguf"] = F16[::-1]
        return answered

    server.other = answer
    with pytest.raises(FetchFailed, match=r"the sha256 of mmproj-F16\.gguf is"):
        bring("/m-Q4_K_M.gguf", models_dir)
    assert names(models_dir) == []


def test_another_file_in_its_place_is_kept(models_dir):
    """Nothing is fetched, and the error says what to do."""
    models_dir.mkdir()
    (models_dir / "mmproj-m-F16.gguf").write_bytes(b"mine")
    with pytest.raises(FetchFailed, match=r"is already in the models folder .* another name"):
        bring("/m-Q4_K_M.gguf", models_dir)
    assert (models_dir / "mmproj-m-F16.gguf").read_bytes() == b"mine"
    assert names(models_dir) == ["mmproj-m-F16.gguf"]


def test_hub_that_does_not_answer(server, models_dir):
    """It is tried again, and the error may pass."""
    asked: list[str] = []

    def answer(handler, path):
        asked.append(path)
        handler.answer(503, b"busy")
        return True

    server.other = answer
    with pytest.raises(FetchFailed, match=r"hf://owner/repo/m-Q4_K_M\.gguf: ") as caught:
        bring("/m-Q4_K_M.gguf", models_dir)
    assert not caught.value.permanent
    assert len(asked) >= 2

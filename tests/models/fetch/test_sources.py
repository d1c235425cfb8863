"""The Hub and buckets: files, folders, sums, refusals."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.models.fetch.address import Origin, parse_address, place
from pilotlight.models.fetch.download import Retries
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.fetch import fetch
from tests.models.fetch.hub import HUB_ROOT, be_gcs, be_hub, be_s3

pytestmark = pytest.mark.slow

DATA = random.Random(5).randbytes(100_000)  # noqa: S311 - the same in each run
FILES = {
    "m.gguf": DATA,
    "onnx/genai_config.json": b"{}",
    "onnx/sub/model.onnx": DATA[::-1],
    "onnx/a b+c.txt": b"text",
    "s-00001-of-00002.gguf": DATA[:5000],
    "s-00002-of-00002.gguf": DATA[5000:9000],
}


@pytest.fixture
def hub(server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from huggingface_hub import utils  # noqa: PLC0415 - as late as the service does

    # What HF_ENDPOINT does, which is read when the library is imported.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    be_hub(server, FILES)
    yield "hf://owner/repo"
    utils.close_session()


@pytest.fixture
def s3(server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in (
        ("AWS_ENDPOINT_URL", server.url),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_CONFIG_FILE", "/nowhere"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
    ):
        monkeypatch.setenv(name, value)
    be_s3(server, FILES)
    return "s3://bucket"


@pytest.fixture
def gs(server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    be_gcs(server, FILES)
    return "gs://bucket"


@pytest.fixture(params=["hub", "s3", "gs"])
def base(request: pytest.FixtureRequest) -> str:
    """Each of the three in turn, with the same files."""
    return request.getfixturevalue(request.param)


def bring(text: str, folder: Path) -> Path:
    address = parse_address(text)
    root = place(address, folder).root
    fetch([Origin(address, root)], retries=Retries(tries=2, wait=0.0))
    return root


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_file(base, models_dir):
    """One file comes as one."""
    assert bring(f"{base}/m.gguf", models_dir).read_bytes() == DATA
    assert not list(models_dir.glob(".*.part"))


def test_folder(base, models_dir):
    """A folder comes whole, with what is below it, and nothing from beside it."""
    assert content(bring(f"{base}/onnx", models_dir)) == {
        name.removeprefix("onnx/"): data for name, data in FILES.items() if "onnx/" in name
    }


def test_split_file(base, models_dir):
    """All its parts come."""
    root = bring(f"{base}/s-00002-of-00002.gguf", models_dir)
    assert content(root) == {name: data for name, data in FILES.items() if name[:2] == "s-"}


@pytest.mark.parametrize("path", ["none.gguf", "none/"])
def test_nothing_there(base, models_dir, path):
    """It cannot pass, and nothing is left behind."""
    with pytest.raises(FetchFailed, match=f"{base}/{path}: no such file") as caught:
        bring(f"{base}/{path}", models_dir)
    assert caught.value.permanent
    assert list(models_dir.iterdir()) == []


def test_short_answers_are_continued(base, server, models_dir):
    """What breaks off is asked for again."""
    troubles = iter(["cut"])

    def trouble(path, span):
        return next(troubles, None) if path.endswith("m.gguf") and span and span[1] > 0 else None

    server.trouble = trouble
    assert bring(f"{base}/m.gguf", models_dir).read_bytes() == DATA


def test_whole_repository(hub, models_dir):
    """A repository is a folder."""
    assert content(bring(hub, models_dir)) == FILES


def test_sum_of_the_hub_is_checked(hub, server, models_dir):
    """A large file's sha256 is known without being given."""
    served = server.other

    def answer(handler, path):
        if path.startswith("/api/") and "/tree/" in path:
            server.files[f"{HUB_ROOT}m.gguf"] = DATA
            answered = served(handler, path)
            server.files[f"{HUB_ROOT}m.gguf"] = DATA[::-1]
            return answered
        return served(handler, path)

    server.other = answer
    with pytest.raises(FetchFailed, match=r"the sha256 of m\.gguf is") as caught:
        bring(f"{hub}/m.gguf", models_dir)
    assert caught.value.permanent
    assert list(models_dir.iterdir()) == []


def test_sum_that_the_hub_denies(hub, server, models_dir):
    """Nothing is fetched where the Hub says another sum than the address."""
    with pytest.raises(FetchFailed, match=f"expected {'0' * 64}"):
        bring(f"{hub}/m.gguf#sha256={'0' * 64}", models_dir)
    assert server.asked == []


def test_folder_has_no_sum(base, models_dir):
    """A sha256 is that of one file."""
    with pytest.raises(FetchFailed, match="a sha256 cannot be given for a folder"):
        bring(f"{base}/onnx#sha256={'0' * 64}", models_dir)


def test_token_goes_to_the_hub_alone(hub, server, models_dir):
    """Where the Hub redirects to a storage, the storage does not get the token."""
    server.files["/store"] = DATA
    server.redirects[f"{HUB_ROOT}m.gguf"] = server.url.replace("127.0.0.1", "localhost") + "/store"
    assert bring(f"{hub}/m.gguf", models_dir).read_bytes() == DATA
    told = [("authorization" in headers) for headers in server.headers]
    assert told
    assert not any(told)
    bring(f"{hub}/s-00001-of-00002.gguf", models_dir)
    assert server.headers[-1]["authorization"] == "Bearer hf_secret"


def test_gated_repository(hub, server, models_dir):
    """The error says what is missing."""
    server.trouble = lambda *_: 403
    with pytest.raises(FetchFailed, match=r"denied \(403\); .* set HF_TOKEN") as caught:
        bring(f"{hub}/m.gguf", models_dir)
    assert caught.value.permanent
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["owner/none/m.gguf", "owner/repo@none/m.gguf"])
def test_no_such_repository_or_revision(hub, models_dir, path):  # noqa: ARG001
    """It is as if the file were missing."""
    with pytest.raises(FetchFailed, match="no such file") as caught:
        bring(f"hf://{path}", models_dir)
    assert caught.value.permanent


def test_bucket_that_refuses(s3, server, models_dir):
    """It cannot pass."""
    server.trouble = lambda *_: 403
    with pytest.raises(FetchFailed, match=r"denied \(403\)") as caught:
        bring(f"{s3}/m.gguf", models_dir)
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("https://host/m.gguf", "aiohttp", "pull"),
        ("hf://owner/repo", "huggingface_hub", "pull"),
        ("s3://bucket/m.gguf", "s3fs", "s3"),
        ("gs://bucket/m.gguf", "gcsfs.core", "gs"),
    ],
)
def test_library_that_is_missing(models_dir, monkeypatch, address, module, extra):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FetchFailed, match=rf"pip install 'pilotlight\[{extra}\]'") as caught:
        bring(address, models_dir)
    assert caught.value.permanent

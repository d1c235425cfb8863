"""Models that models.yaml names by an address: fetched when they are first loaded."""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import pytest

from pilotlight.errors import InsufficientMemory, ModelLoadFailed, ModelLoading
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.listing import describe
from pilotlight.models.loaded import Hold
from pilotlight.models.loading.progress import estimate_fetch
from pilotlight.models.models_file import read_models_file
from pilotlight.models.registry import Registry
from pilotlight_backend.testing.fake import PROJECTOR, FakeModel
from tests.models.fetch.server import file_server


@pytest.fixture
def server():
    with file_server() as server:
        yield server


@pytest.fixture
def entry(server, tmp_path: Path) -> ModelEntry:
    """Return a model that is on the server."""
    server.files["/there.fake"] = FakeModel(reply="hi").write(tmp_path / "x.fake").read_bytes()
    return configured(tmp_path, f"mine: {server.url}/there.fake")


def configured(folder: Path, text: str) -> ModelEntry:
    (folder / "models.yaml").write_text(text)
    (entry,) = read_models_file(folder / "models.yaml", folder / "models")
    return entry


def test_entry_is_called_by_its_name(entry, tmp_path):
    """It goes into the models folder under the entry's name, with the address's suffix."""
    assert entry.path == tmp_path / "models" / "mine.fake"
    assert entry.origin.root == entry.path


def test_listing_fetches_nothing(entry, registry, server):
    """An entry that is not fetched yet is listed as such."""
    (listed,) = describe([entry], registry)
    assert listed.error == f"{server.url}/there.fake (not fetched yet)"
    assert server.asked == []


async def test_first_load_fetches(entry, pool, backend, server):
    """The model is fetched, loaded and ready; the second load sends no request."""
    await pool.ensure_ready(entry, Hold(30))
    assert [load.facts.path for load in backend.loads] == [entry.path]
    assert pool.status(entry).progress == 1.0
    assert server.asked


async def test_progress_counts_the_fetch(entry, pool, clock, server):
    """While it is fetched the load is under way, and Retry-After is that of its rate."""
    server.gate.clear()
    with pytest.raises(ModelLoading):
        await pool.ensure_ready(entry, Hold(0))
    assert await asyncio.to_thread(server.stands.acquire, timeout=30)
    while pool.status(entry).retry_after is None:  # noqa: ASYNC110 - its thread reports
        await asyncio.sleep(0.01)
    clock.advance(4)
    status = pool.status(entry)
    assert status.state == "loading"
    assert status.progress == pytest.approx(4 / 8.5, rel=0.2)
    assert status.retry_after == pytest.approx(4.5, rel=0.2)
    server.gate.set()
    await pool.ensure_ready(entry, Hold(30))


async def test_closed_pool_stops_the_fetch(entry, pool, server):
    """It ends promptly, and nothing looks whole."""
    server.gate.clear()
    with contextlib.suppress(ModelLoading):
        await pool.ensure_ready(entry, Hold(0))
    assert await asyncio.to_thread(server.stands.acquire, timeout=30)
    await asyncio.wait_for(pool.close(), 10)
    assert not entry.path.exists()
    assert (entry.path.parent / ".mine.fake.part" / "state.json").exists()


@pytest.mark.parametrize(("status", "message"), [(404, "no such file"), (403, "access is denied")])
async def test_refused_fetch_is_a_failed_load(entry, pool, server, status, message):
    """An error that is permanent has no Retry-After."""
    server.trouble = lambda *_: status
    with pytest.raises(ModelLoadFailed, match=f"mine: .*{message}") as caught:
        await pool.ensure_ready(entry, Hold(30))
    assert caught.value.retry_after is None


async def test_wrong_sum_is_a_failed_load(server, tmp_path, pool):
    """A file that is another one is never loaded."""
    server.files["/there.fake"] = b"{}"
    wrong = hashlib.sha256(b"other").hexdigest()
    entry = configured(tmp_path, f"mine: '{server.url}/there.fake#sha256={wrong}'")
    with pytest.raises(ModelLoadFailed, match=f"expected {wrong}") as caught:
        await pool.ensure_ready(entry, Hold(30))
    assert caught.value.retry_after is None
    assert not entry.path.exists()


@pytest.fixture
def seeing(server, entry, tmp_path: Path) -> ModelEntry:  # noqa: ARG001 - the model is there
    """Return that model with a projector, which is on the server too."""
    server.files["/p.gguf"] = PROJECTOR + bytes(500)
    where = server.url
    return configured(tmp_path, f"mine: {{path: '{where}/there.fake', mmproj: '{where}/p.gguf'}}")


async def test_first_load_fetches_the_projector_too(seeing, pool, backend, server, registry):
    """The facts of the load have it, and those of the list before and after."""
    (listed,) = describe([seeing], registry)
    assert listed.error == f"{server.url}/there.fake (not fetched yet)"
    await pool.ensure_ready(seeing, Hold(30))
    (facts,) = (load.facts for load in backend.loads)
    assert facts.projector == seeing.path.with_name("mmproj-mine.gguf")
    assert facts.size_bytes == seeing.path.stat().st_size + facts.projector.stat().st_size
    (listed,) = describe([seeing], registry)
    assert listed.facts.input_modalities == ("text", "image")


def test_projector_that_is_not_fetched_yet_is_expected(seeing, registry, server):
    """The list says that the model sees, and fetches nothing."""
    seeing.path.parent.mkdir()
    seeing.path.write_bytes(server.files["/there.fake"])
    (listed,) = describe([seeing], registry)
    assert listed.facts.input_modalities == ("text", "image")
    assert server.asked == []


async def test_projector_counts_in_the_memory_of_a_load(seeing, make_pool, server):
    """A budget that holds the model alone does not hold both."""
    pool = make_pool(memory_budget=len(server.files["/there.fake"]) + 400)
    with pytest.raises(InsufficientMemory, match="mine"):
        await pool.ensure_ready(seeing, Hold(30))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [(404, r"mine: .*/p\.gguf: no such file"), (403, r"mine: .*/p\.gguf: access is denied")],
)
async def test_refused_projector_is_a_failed_load(seeing, pool, server, trouble, message):
    """It names the projector, and is permanent."""
    server.trouble = lambda path, _: trouble if path == "/p.gguf" else None
    with pytest.raises(ModelLoadFailed, match=message) as caught:
        await pool.ensure_ready(seeing, Hold(30))
    assert caught.value.retry_after is None


async def test_file_that_is_no_projector_is_a_failed_load(seeing, pool, server, registry):
    """The list of models has the same error."""
    server.files["/p.gguf"] = b"something else"
    with pytest.raises(ModelLoadFailed, match=r"mmproj-mine\.gguf: it is not a fake projector"):
        await pool.ensure_ready(seeing, Hold(30))
    (listed,) = describe([seeing], registry)
    assert (listed.trouble, listed.facts) == ("invalid", None)


def test_projector_of_models_yaml_that_is_missing_is_listed(registry, tmp_path):
    (tmp_path / "models").mkdir()
    model = FakeModel(reply="hi").write(tmp_path / "models" / "m.fake")
    (listed,) = describe([configured(tmp_path, f"m: {{path: {model}, mmproj: p.gguf}}")], registry)
    assert listed.error == "p.gguf: no such file"


def test_projector_for_a_backend_without_projectors_is_listed(registry, backend, tmp_path):
    """The reason names the backend."""
    model = FakeModel(reply="hi").write(tmp_path / "m.fake")
    seeing = configured(tmp_path, f"m: {{path: {model}, mmproj: p.gguf}}")
    (tmp_path / "p.gguf").write_bytes(PROJECTOR)
    assert describe([seeing], registry)[0].facts.sees
    blind = Registry({"blind": Blind(backend)})
    (listed,) = describe([seeing], blind)
    assert listed.error == "p.gguf: the backend 'blind' has no projectors (mmproj)"
    assert listed.trouble == "unsupported"


class Blind:
    """A backend that knows no projectors."""

    name = "blind"

    def __init__(self, backend) -> None:
        self.probe, self.load, self.embedded = backend.probe, backend.load, backend.embedded


@pytest.mark.parametrize(
    ("progress", "elapsed", "seconds"),
    [
        (None, 5.0, None),
        (FetchProgress(0, 0), 5.0, None),
        (FetchProgress(0, 10**9), 5.0, None),
        (FetchProgress(500_000_000, 10**9, 500_000_000), 5.0, None),
        (FetchProgress(250_000_000, 10**9), 5.0, 15.0 + 1.5),
        (FetchProgress(750_000_000, 10**9, 500_000_000), 5.0, 5.0 + 1.5),
        (FetchProgress(10**9, 10**9), 5.0, 1.5),
    ],
)
def test_estimate_of_a_fetch(progress, elapsed, seconds):
    """The rate is that of this attempt's bytes; those of an earlier one do not count."""
    estimate = estimate_fetch(progress, elapsed)
    assert (estimate and estimate.left) == (seconds if seconds is None else pytest.approx(seconds))

"""Models that models.yaml names by an address: fetched when they are first loaded."""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import pytest

from pilotlight.errors import ModelLoadFailed, ModelLoading
from pilotlight.models.catalog import ModelEntry, read_models_file
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.listing import describe
from pilotlight.models.loaded import Hold
from pilotlight.models.loading.progress import estimate_fetch
from pilotlight_backend.testing.fake import FakeModel
from tests.models.fetch.server import file_server


@pytest.fixture
def server():
    with file_server() as server:
        yield server


@pytest.fixture
def entry(server, tmp_path: Path) -> ModelEntry:
    """Return a model that lies on the server."""
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
    """An entry that is not here yet says so."""
    (listed,) = describe([entry], registry)
    assert listed.error == f"{server.url}/there.fake (not fetched yet)"
    assert server.asked == []


async def test_first_load_fetches(entry, pool, backend, server):
    """The model is fetched, loaded, and ready; the second load asks nobody."""
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
    """What cannot pass says so to the client."""
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
    """The rate of this try's bytes tells; what an earlier try left does not count."""
    estimate = estimate_fetch(progress, elapsed)
    assert (estimate and estimate.left) == (seconds if seconds is None else pytest.approx(seconds))

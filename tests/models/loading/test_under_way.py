"""When a load is under way: what else needs the GIL may begin."""

import asyncio
import threading

import pytest

from pilotlight.config import Settings
from pilotlight.errors import ModelLoadFailed
from pilotlight.models.loaded import FOREVER, Hold
from pilotlight.service import Service
from pilotlight_backend.testing.fake import FakeBackend, FakeModel


class Importing(FakeBackend):
    """Imports before it reports, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.imported = threading.Event()

    def load(self, facts, options, progress):
        self.began.set()
        assert self.imported.wait(30)
        return super().load(facts, options, progress)


@pytest.fixture
def backend():
    backend = Importing()
    yield backend
    backend.imported.set()
    backend.load_gate.release()
    for engine in list(backend.engines):
        engine.close()


async def test_load_is_under_way_with_its_first_report(backend, pool, write):
    """Not before: until then it imports what it needs."""
    backend.load_gate.hold()  # behind the first report
    load = asyncio.create_task(pool.ensure_ready(write("m"), Hold(FOREVER)))
    assert await asyncio.to_thread(backend.began.wait, 30)
    assert not pool.load_under_way.is_set()
    backend.imported.set()
    assert await asyncio.to_thread(pool.load_under_way.wait, 30)
    assert not load.done()
    backend.load_gate.release()
    await load


async def test_load_in_another_process_is_under_way_at_once(make_pool, write):
    """That process has a GIL of its own."""
    other = Importing()
    pool = make_pool(place=lambda *_: other)
    load = asyncio.create_task(pool.ensure_ready(write("m"), Hold(FOREVER)))
    assert await asyncio.to_thread(other.began.wait, 30)
    assert pool.load_under_way.is_set()
    other.imported.set()
    await load


async def test_load_that_fails_before_it_reports(pool, write):
    """Nothing waits for it any longer."""
    entry = write("m")
    entry.path.write_bytes(b"")
    with pytest.raises(ModelLoadFailed):
        await pool.ensure_ready(entry, Hold(FOREVER))
    assert pool.load_under_way.is_set()


@pytest.mark.usefixtures("no_plugins")
async def test_server_that_preloads_waits_for_its_load(backend, tmp_path):
    """The web framework is imported behind `wait_for_load`."""
    FakeModel().write(tmp_path / "m.fake")
    settings = Settings(
        models_dir=tmp_path, models_file=tmp_path / "none.yaml", cache_dir=tmp_path, preload=("m",)
    )
    service = Service(settings, backends={"fake": backend})
    service.begin()
    waiting = asyncio.create_task(asyncio.to_thread(service.wait_for_load, 30))
    assert await asyncio.to_thread(backend.began.wait, 30)
    assert not waiting.done()
    backend.imported.set()
    await asyncio.wait_for(waiting, 30)
    await service.end()


@pytest.mark.usefixtures("no_plugins")
@pytest.mark.parametrize("preload", [(), ("all",), ("misspelt",)])
async def test_server_without_a_load_waits_for_none(backend, tmp_path, preload):
    """There may be nothing to preload, or nothing that has such a name."""
    settings = Settings(
        models_dir=tmp_path, models_file=tmp_path / "none.yaml", cache_dir=tmp_path, preload=preload
    )
    service = Service(settings, backends={"fake": backend})
    service.begin()
    assert await asyncio.to_thread(service.pool.load_under_way.wait, 30)
    await service.end()

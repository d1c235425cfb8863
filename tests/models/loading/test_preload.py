"""Models that are loaded at the start, and readiness."""

import asyncio
from pathlib import Path

import pytest

from pilotlight.config import ConfigError
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.discovery import Discovery
from pilotlight.models.loading.preload import Preload
from pilotlight.models.pool import Pool
from pilotlight.models.registry import Registry
from pilotlight.models.resolver import Resolver
from pilotlight_backend.testing.fake import FakeModel


class Sleep:
    """Sleeps as long as a test says, and remembers how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.begun.set()
        await self.over.wait()


@pytest.fixture
def sleep() -> Sleep:
    return Sleep()


@pytest.fixture
def make_preload(registry: Registry, pool: Pool, tmp_path: Path, sleep: Sleep):
    """Return a function that makes a preload of models in `tmp_path`."""
    resolver = Resolver(registry, [], Discovery(tmp_path, registry), lambda: pool.loaded)
    return lambda *names: Preload(names, resolver, pool, sleep=sleep)


def states(preload: Preload) -> tuple[str, dict[str, str]]:
    """Return the readiness as a word, and the state of each model that is not ready."""
    readiness = preload.readiness()
    return readiness.status, {name: model.state for name, model in readiness.models.items()}


async def test_nothing_to_preload_is_ready(make_preload, write, backend):
    """Without names the server is ready at once, and loads nothing."""
    write("a")
    preload = make_preload()
    assert states(preload) == ("ready", {})
    await preload.run()
    assert states(preload) == ("ready", {})
    assert backend.loads == []


async def test_named_models_are_loaded_one_after_another(make_preload, write, backend, pool):
    """The named ones are loaded in their order, others are not; each that is ready is left out."""
    for name in "abc":
        write(name)
    preload = make_preload("C", "a")
    assert states(preload) == ("loading", {"C": "absent", "a": "absent"})
    backend.load_gate.hold()
    running = asyncio.create_task(preload.run())
    assert await asyncio.to_thread(backend.load_gate.wait_reached)
    assert states(preload) == ("loading", {"C": "loading", "a": "absent"})
    backend.load_gate.release()
    await running
    assert states(preload) == ("ready", {})
    assert [load.facts.path.stem for load in backend.loads] == ["c", "a"]
    assert [entry.name for entry in pool.loaded] == ["c", "a"]


async def test_progress_is_told(make_preload, write, backend, clock):
    """Readiness has the part of the time that is over, and the seconds that it takes still."""
    write("a", size_bytes=400, load_steps=4)
    preload = make_preload("a")
    backend.load_gate.hold()
    running = asyncio.create_task(preload.run())
    assert await asyncio.to_thread(backend.load_gate.wait_reached)
    clock.advance(5)
    backend.load_gate.release(1)
    assert await asyncio.to_thread(backend.load_gate.wait_reached)
    (model,) = preload.readiness().models.values()
    assert (model.progress, model.error) == (pytest.approx(5 / 20.5), None)
    assert model.retry_after == pytest.approx(15.5)
    backend.load_gate.release()
    await running


async def test_all_loads_every_model(make_preload, write, backend):
    """`all` is every model there is."""
    for name in "ab":
        write(name)
    preload = make_preload("all")
    assert states(preload) == ("loading", {"all": "absent"})
    await preload.run()
    assert states(preload) == ("ready", {})
    assert [load.facts.path.stem for load in backend.loads] == ["a", "b"]


async def test_all_leaves_out_what_cannot_be_served(make_preload, write, backend, caplog):
    """What is damaged, or no backend serves, is a warning each; the others load and it is ready."""
    write("a")
    write("draws", unserved="it draws pictures")
    write("torn").path.write_text("{")
    write("z")
    preload = make_preload("all")
    await preload.run()
    assert states(preload) == ("ready", {})
    assert [load.facts.path.stem for load in backend.loads] == ["a", "z"]
    warnings = [one.message for one in caplog.records if "preloaded" in one.message]
    assert warnings[0] == "draws is not preloaded: draws.fake: it draws pictures"
    assert warnings[1].startswith("torn is not preloaded: torn.fake: ")
    assert len(warnings) == 2


async def test_named_model_that_cannot_be_served_fails(make_preload, write, sleep):
    """Who names a model wants it: the server is not ready without it, and does not try again."""
    write("draws", unserved="it draws pictures")
    preload = make_preload("draws")
    await preload.run()
    assert states(preload) == ("failed", {"draws": "failed"})
    assert "it draws pictures" in preload.readiness().models["draws"].error
    assert sleep.seconds == []


async def test_all_of_nothing_is_ready(make_preload):
    """Without any model `all` is done at once."""
    preload = make_preload("all")
    await preload.run()
    assert states(preload) == ("ready", {})


@pytest.mark.parametrize(
    ("name", "meant"), [("asistant", "did you mean assistant? "), ("nobody", "")]
)
async def test_unknown_name_is_a_configuration_error(make_preload, write, backend, name, meant):
    """It is raised before anything is loaded, suggests a name, and the probe reports it."""
    write("assistant")
    preload = make_preload("assistant", name)
    words = f"--preload {name}: no model has this name; {meant}`pilotlight models` lists the models"
    with pytest.raises(ConfigError) as caught:
        await preload.resolve()
    assert str(caught.value) == words
    assert states(preload)[1][name] == "failed"
    assert f"there is no model {name!r}" in preload.readiness().models[name].error
    assert backend.loads == []


async def test_names_that_have_a_model_are_resolved(make_preload, write):
    """`all` and names of files pass, and nothing is loaded by that."""
    write("a")
    for names in (("all",), ("A", " a "), ()):
        await make_preload(*names).resolve()


async def test_name_of_a_file_that_comes_later_is_resolved(registry, pool, tmp_path, backend):
    """models.yaml names a file that a volume or a download brings: the load looks for it."""
    later = ModelEntry(
        "later", tmp_path / "later.fake", "configured", ModelOptions(path="later.fake")
    )
    resolver = Resolver(registry, [later], Discovery(tmp_path, registry), lambda: pool.loaded)
    preload = Preload(["later"], resolver, pool)
    await preload.resolve()
    FakeModel().write(later.path)
    await preload.run()
    assert states(preload) == ("ready", {})
    assert len(backend.loads) == 1


async def test_permanent_failure_is_not_tried_again(make_preload, write, backend, sleep):
    """A damaged file fails the server's readiness for good."""
    write("bad", load_error="invalid")
    write("good")
    preload = make_preload("bad", "good")
    await preload.run()
    assert states(preload) == ("failed", {"bad": "failed"})
    assert "invalid" in preload.readiness().models["bad"].error
    assert [load.facts.path.stem for load in backend.loads] == ["bad", "good"]
    assert sleep.seconds == []


async def test_passing_failure_is_tried_again(make_preload, write, backend, sleep, clock):
    """After the cool-down the load is tried again; until then the probe says what went wrong."""
    write("a", load_error="transient", load_errors_before_success=1)
    preload = make_preload("a")
    running = asyncio.create_task(preload.run())
    await sleep.begun.wait()
    assert states(preload) == ("loading", {"a": "failed"})
    assert "its load fails" in preload.readiness().models["a"].error
    clock.advance(sleep.seconds[0])
    sleep.over.set()
    await running
    assert sleep.seconds == [10.0]
    assert states(preload) == ("ready", {})
    assert len(backend.loads) == 2


async def test_a_failure_that_passes_holds_up_no_other(make_preload, write, sleep, clock):
    """The others are loaded before the first one is tried again."""
    write("a", load_error="transient", load_errors_before_success=1)
    write("b")
    preload = make_preload("a", "b")
    running = asyncio.create_task(preload.run())
    await sleep.begun.wait()
    assert states(preload) == ("loading", {"a": "failed"})
    clock.advance(sleep.seconds[0])
    sleep.over.set()
    await running
    assert sleep.seconds == [10.0]
    assert states(preload) == ("ready", {})


async def test_cancelled_preload_leaves_the_load_to_others(make_preload, write, backend, pool):
    """The end of the preloading is not the end of a load that a request may wait for."""
    write("a")
    preload = make_preload("a")
    backend.load_gate.hold()
    running = asyncio.create_task(preload.run())
    assert await asyncio.to_thread(backend.load_gate.wait_reached)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [entry.name for entry in pool.loaded] == ["a"]
    assert states(preload) == ("loading", {"a": "loading"})
    backend.load_gate.release()


async def test_ready_stays_ready(make_pool, registry, write, tmp_path, clock):
    """A model that was ready once is not waited for again when it was unloaded, idle."""
    pool = make_pool(idle_ttl=1.0)
    write("a")
    discovery = Discovery(tmp_path, registry)
    preload = Preload(("a",), Resolver(registry, [], discovery, lambda: pool.loaded), pool)
    await preload.run()
    clock.advance(1)
    pool.sweep()
    assert pool.loaded == []
    assert states(preload) == ("ready", {})

"""Which baked prompt belongs to which model, and the warning for one that is not used."""

from msgspec.structs import replace

from pilotlight.models.baked import baked_path, template_digest, template_source, with_baked
from pilotlight.models.loaded import Hold
from pilotlight_backend import BakedPrompt, LoadOptions
from pilotlight_backend.testing.fake import FakeBackend
from pilotlight_backend.testing.fake_model import CHAT_TEMPLATE

OPTIONS = LoadOptions(parallel=2)


def option(entry, **options):
    return replace(entry, options=replace(entry.options, **options))


def facts_of(entry):
    return FakeBackend().probe(entry.path)


def test_file_stands_beside_the_model(write):
    """Or where models.yaml says: in the model's folder, or anywhere."""
    entry = write("m")
    assert baked_path(entry) == entry.path.with_name("m.fake.baked")
    assert baked_path(option(entry, baked="other.baked")) == entry.path.with_name("other.baked")
    assert str(baked_path(option(entry, baked="/data/m.baked"))) == "/data/m.baked"


def test_model_without_a_file_is_loaded_as_ever(write):
    """Nothing is there, so nothing is said."""
    entry = write("m")
    assert with_baked(OPTIONS, entry, facts_of(entry)) == OPTIONS


def test_file_is_passed_on_with_the_templates_digest(write):
    """The template in force is the one that models.yaml names."""
    entry = write("m")
    path = baked_path(entry)
    path.touch()
    baked = BakedPrompt(path=path, template=template_digest(CHAT_TEMPLATE))
    assert with_baked(OPTIONS, entry, facts_of(entry)) == replace(OPTIONS, baked=baked)
    entry.path.with_name("t.jinja").write_text("other")
    entry = option(entry, chat_template="t.jinja")
    assert template_source(entry, facts_of(entry)) == "other"
    baked = replace(baked, template=template_digest("other"))
    assert with_baked(OPTIONS, entry, facts_of(entry)) == replace(OPTIONS, baked=baked)


def test_file_that_is_named_and_missing_is_passed_on(write):
    """Who wrote it into models.yaml wants to know: the backend warns."""
    entry = option(write("m"), baked="gone.baked")
    assert with_baked(OPTIONS, entry, facts_of(entry)).baked.path.name == "gone.baked"


def test_template_that_cannot_be_read(write):
    """A request reports the error of the template; the load continues without the file."""
    entry = option(write("m"), chat_template="gone.jinja")
    baked_path(entry).touch()
    assert with_baked(OPTIONS, entry, facts_of(entry)) == OPTIONS


async def test_load_is_given_the_file(pool, backend, write):
    """What is beside the model reaches the backend, with the load's other options."""
    entry = write("m")
    baked_path(entry).touch()
    await pool.ensure_ready(entry, Hold(10))
    [load] = backend.loads
    assert load.options.baked.path == baked_path(entry)
    assert load.options.parallel == 2


async def test_backend_that_cannot_bake_is_warned_of(pool, backend, write, caplog):
    """The model is served all the same."""
    backend._bakes = False
    entry = write("m")
    baked_path(entry).touch()
    await pool.ensure_ready(entry, Hold(10))
    assert pool.status(entry).state == "ready"
    assert "m.fake.baked is ignored: the backend fake does not use baked prompts" in caplog.text

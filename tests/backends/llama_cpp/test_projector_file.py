"""Which projector is a model's, by its name and its header."""

import os

import pytest

from benchmarks import random_gguf, random_projector
from pilotlight_backend import InsufficientMemory, LoadFailed, LoadOptions, ModelFileInvalid
from pilotlight_backend.capacity import memory_need
from pilotlight_backend.projectors import without_projector
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.projector_file import beside, read, with_projector


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"GGUF")
        return tmp_path

    return make


def test_projector_is_found_beside_the_model(folder):
    path = folder("a-Q8_0.gguf", "mmproj-a-f16.gguf", "mmproj-b-f16.gguf") / "a-Q8_0.gguf"

    assert beside(path) == path.with_name("mmproj-a-f16.gguf")


def test_a_folder_that_is_gone_has_no_projector(tmp_path):
    assert beside(tmp_path / "gone" / "a.gguf") is None


def test_pipe_is_no_projector_and_not_waited_for(tmp_path, caplog, random_model):
    """The model beside it is served, and reads text alone."""
    model = tmp_path / "a.gguf"
    model.symlink_to(random_model)
    os.mkfifo(tmp_path / "mmproj-a.gguf")
    facts = within(lambda: LlamaCppBackend().probe(model), 10)
    assert facts.input_modalities == ("text",)
    assert "it cannot be read: not a regular file" in caplog.text


@pytest.fixture(scope="module")
def backend():
    return LlamaCppBackend()


@pytest.fixture
def pair(tmp_path):
    def make(**changes):
        tower = random_projector.TINY
        model = tmp_path / "a.gguf"
        random_gguf.write(model, random_gguf.TINY)
        projector = tmp_path / "mmproj-f32.gguf"
        random_projector.write(projector, random_projector.Tower(**{**tower.__dict__, **changes}))
        return model, projector

    return make


def test_memory_of_a_model_has_its_projector(backend, pair):
    model, projector = pair()
    facts = backend.probe(model)

    assert facts.projector == projector
    assert facts.size_bytes == model.stat().st_size + projector.stat().st_size
    without = memory_need(with_projector(facts, projector), LoadOptions(), 256) - facts.image_bytes
    assert facts.image_bytes > 64 << 20
    assert memory_need(facts, LoadOptions(), 256) == without + facts.image_bytes


def test_projector_is_noticed_when_it_comes_and_goes(backend, pair):
    from pilotlight.models.registry import Registry  # noqa: PLC0415

    registry = Registry({"llama_cpp": backend})
    model, projector = pair()
    assert registry.recognise(model).facts.sees

    hidden = projector.rename(projector.with_suffix(".off"))
    assert not registry.recognise(model).facts.sees

    hidden.rename(projector)
    assert registry.recognise(model).facts.sees


@pytest.mark.parametrize("data", [b"", b"GGUF", b"\x89PNG" * 9])
def test_damaged_projector_leaves_a_model_that_reads(backend, pair, caplog, data):
    model, projector = pair()
    projector.write_bytes(data)

    facts = backend.probe(model)

    assert not facts.sees
    assert facts.size_bytes == model.stat().st_size
    assert "a.gguf takes no images: mmproj-f32.gguf" in caplog.text
    with pytest.raises(ModelFileInvalid, match=r"mmproj-f32\.gguf"):
        read(projector)


def test_model_is_no_projector(pair):
    model, _ = pair()

    with pytest.raises(ModelFileInvalid, match="is not a multimodal projector"):
        read(model)


def test_projector_of_another_width_leaves_a_model_that_reads(backend, pair, caplog):
    model, _ = pair(text=128)
    options = LoadOptions(parallel=1, context_length=256)

    engine = backend.load(backend.probe(model), options, lambda _: None)
    try:
        assert not engine.facts.sees
        assert engine.facts.size_bytes == model.stat().st_size
        assert "mismatch between text model (n_embd = 64) and mmproj (n_embd = 128)" in caplog.text
    finally:
        engine.close()


def test_projector_of_models_yaml_that_does_not_fit_fails_the_load(backend, pair):
    model, projector = pair(text=128)
    options = LoadOptions(parallel=1, context_length=256, projector=projector)

    with pytest.raises(LoadFailed, match=r"mmproj-f32\.gguf: .*mismatch"):
        backend.load(backend.probe(model), options, lambda _: None)


def test_projector_of_models_yaml_that_is_missing_fails_the_load(backend, pair, tmp_path):
    model, _ = pair()
    options = LoadOptions(parallel=1, context_length=256, projector=tmp_path / "gone.gguf")

    with pytest.raises(ModelFileInvalid, match=r"gone\.gguf: no such file"):
        backend.load(backend.probe(model), options, lambda _: None)


def test_vocabulary_without_the_tokens_around_images_leaves_a_model_that_reads(
    backend, tmp_path, caplog
):
    model = tmp_path / "a.gguf"
    random_gguf.write(model, random_gguf.TINY)
    tower = random_projector.Tower(**{**random_projector.TINY.__dict__, "kind": "idefics3"})
    random_projector.write(tmp_path / "mmproj-a.gguf", tower)
    options = LoadOptions(parallel=1, context_length=256)

    engine = backend.load(backend.probe(model), options, lambda _: None)
    try:
        assert not engine.facts.sees
        assert "lacks a token that the projector puts around images" in caplog.text
    finally:
        engine.close()


def test_projector_counts_against_the_memory_that_there_is(backend, pair, monkeypatch):
    model, _ = pair()
    facts = backend.probe(model)
    need = memory_need(facts, LoadOptions(parallel=1, context_length=256), 256)
    monkeypatch.setattr("pilotlight_backend.cgroup.available_memory", lambda: need - (32 << 20))

    with pytest.raises(InsufficientMemory):
        backend.load(facts, LoadOptions(parallel=1, context_length=256), lambda _: None)


def test_facts_with_a_projector_from_elsewhere_and_without_one(backend, pair, tmp_path):
    model, projector = pair()
    other = projector.rename(tmp_path / "elsewhere.gguf")
    plain = backend.probe(model)
    assert not plain.sees

    facts = backend.probe_projector(other, plain)

    assert facts.sees
    assert facts.projector_bytes == other.stat().st_size
    assert facts.size_bytes == plain.size_bytes + other.stat().st_size
    assert without_projector(facts) == plain
    assert without_projector(plain) == plain
    with pytest.raises(ModelFileInvalid, match="is not a multimodal projector"):
        backend.probe_projector(model, plain)

"""Options for attention: settings are the defaults of models.yaml; conflicts end a start."""

import pytest

from pilotlight.config import ConfigError, Settings
from pilotlight.model_options import load_options
from pilotlight.models.models_file import read_models_file
from pilotlight.service import Service

_QUANTIZED = (
    "'q8_0' needs flash attention; set flash_attention to auto or on, or use f16, bf16 or f32"
)


@pytest.fixture
def settings(tmp_path):
    """Return a function that makes settings beside a models.yaml."""

    def make(text="", **given):
        file = tmp_path / "models.yaml"
        file.write_text(text)
        return Settings(models_file=file, models_dir=tmp_path, cache_dir=tmp_path, **given)

    return make


def test_model_overrides_the_settings(settings):
    """False is an option too: a model can leave a mode that the server has."""
    given = settings(
        "a: {path: a.gguf, deterministic: false, flash_attention: on, cache_type_v: q8_0}\n"
        "b: {path: b.gguf}\n",
        deterministic=True,
        cache_type_k="q4_0",
    )
    a, b = (load_options(given, entry) for entry in read_models_file(given.models_file))
    assert (a.deterministic, a.flash_attention) == (False, "on")
    assert (a.cache_type_k, a.cache_type_v, a.kv_unified) == ("q4_0", "q8_0", False)
    assert (b.deterministic, b.flash_attention, b.cache_type_v) == (True, "auto", "f16")


def test_model_chooses_speculation(settings):
    """The settings are its defaults, as for every option of a load."""
    given = settings(
        "a: {path: a.gguf, speculation: none}\nb: {path: b.gguf, draft_max: 8}\n",
        speculation="ngram",
        ngram_min=4,
    )
    a, b = (load_options(given, entry) for entry in read_models_file(given.models_file))
    assert (a.speculation, b.speculation) == ("none", "ngram")
    assert (b.draft_max, b.ngram_min) == (8, 4)


def test_file_of_a_draft_model_is_beside_the_model(settings, tmp_path):
    """Relative to the model's folder, as its other files are."""
    given = settings("a: {path: models/a.gguf, draft_model: small.gguf}\n", speculation="ngram")
    (a,) = (load_options(given, entry) for entry in read_models_file(given.models_file))
    assert (a.speculation, a.draft_model) == ("draft", tmp_path / "models" / "small.gguf")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"deterministic": True, "kv_unified": True},
            "--kv-unified: true cannot be combined with deterministic",
        ),
        ({"cache_type_v": "q8_0", "flash_attention": "off"}, f"--cache-type-v: {_QUANTIZED}"),
    ],
)
def test_settings_that_exclude_each_other(settings, given, message):
    """The flag is named."""
    with pytest.raises(ConfigError) as caught:
        Service(settings(**given))
    assert str(caught.value) == message


def test_model_and_settings_that_exclude_each_other(settings):
    """The entry is named, where only together they cannot be."""
    given = settings("m: {path: m.gguf, cache_type_v: q4_0}\n", deterministic=True)
    with pytest.raises(ConfigError, match=r"models\.yaml: m\.cache_type_v: 'q4_0' needs flash"):
        Service(given)

"""`adapters:` below a model in models.yaml."""

import pytest

from pilotlight.config import ConfigError
from pilotlight.models.adapter_catalog import AdapterCatalog
from pilotlight.models.models_file import read_models_file


def read(folder, text):
    path = folder / "models.yaml"
    path.write_text(text)
    return read_models_file(path, folder / "models")


def test_adapters_follow_their_model(tmp_path):
    entries = read(
        tmp_path,
        "models:\n"
        "  base:\n    path: b.gguf\n    parallel: 2\n    adapters:\n"
        "      One: lora/1.gguf\n"
        "      two: {path: 'hf://o/r/2.gguf', scale: 0.5}\n"
        "  other: o.gguf\n",
    )
    assert [one.name for one in entries] == ["base", "one", "two", "other"]
    base, one, two, _ = entries
    assert (one.base, two.base, base.base) == (base, base, base)
    assert (one.adapter.scale, two.adapter.scale) == (1.0, 0.5)
    assert one.path == tmp_path / "lora/1.gguf"
    assert two.path == tmp_path / "models/two.gguf"
    assert two.origin.address.url == "hf://o/r/2.gguf"
    catalog = AdapterCatalog(entries)
    assert [entry.name for entry in catalog.of(base)] == ["one", "two"]
    assert catalog.of(one) == catalog.of(base)


def test_adapters_may_be_a_list_with_names(tmp_path):
    entries = read(
        tmp_path, "base:\n  path: b.gguf\n  adapters:\n  - {name: a, path: a.gguf, scale: 2}\n"
    )
    assert [(one.name, one.adapter and one.adapter.scale) for one in entries] == [
        ("base", None),
        ("a", 2.0),
    ]


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ("a.gguf", "base.adapters: expected a map of names to paths"),
        ("{a: 3}", "base.adapters.a: "),
        ("{a: {scale: 1}}", "base.adapters.a.path: "),
        ("{a: {path: x, scale: 1000}}", "base.adapters.a.scale: "),
        ("{a: {path: x, scales: 1}}", "base.adapters.a.scales: "),
        ("{base: x}", "base.adapters.base: duplicate name of a model"),
        ("{a: x, A: y}", "base.adapters.A: duplicate name of a model"),
        ("{a: x, a: y}", "a: duplicate key"),
        ("{a: {path: x, path: y}}", "path: duplicate key"),
        ("{7: x}", "base.adapters.7: expected a name"),
        ("[{path: x}]", "base.adapters[0]: expected a name"),
        ("{a: 'ftp://x/y'}", "base.adapters.a: ftp:// is not supported"),
    ],
)
def test_wrong_adapters_name_their_key(tmp_path, adapters, message):
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, f"base:\n  path: b.gguf\n  adapters: {adapters}\n")
    assert message in str(raised.value)

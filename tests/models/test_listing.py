"""What there is to say of a model without loading it."""

import os

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.listing import describe


def test_models_are_described_by_their_headers(registry, backend, write):
    """A model's backend, facts and time of change are told, and nothing is loaded."""
    entry = write("a", architecture="qwen3", context_length=64)
    os.utime(entry.path, (5, 1767225600))
    (listed,) = describe([entry], registry)
    assert (listed.entry, listed.created, listed.backend) == (entry, 1767225600, "fake")
    assert (listed.facts.architecture, listed.facts.context_length) == ("qwen3", 64)
    assert listed.error is None
    assert backend.loads == []


def test_models_that_cannot_be_served_are_listed_with_their_error(registry, write, tmp_path):
    """A damaged, missing or unknown file is listed beside the good ones, and says what is wrong."""
    (tmp_path / "bad.fake").write_text("{")
    (tmp_path / "text.txt").write_text("x")
    entries = [
        ModelEntry(name, tmp_path / name, "configured", ModelOptions(path=name))
        for name in ("bad.fake", "gone.fake", "text.txt", "x" * 300)
    ]
    *bad, good = describe([*entries, write("good")], registry)
    assert good.error is None
    assert [one.backend for one in bad] == [None] * 4
    assert bad[0].error.startswith("bad.fake: ")
    assert (bad[1].created, "No such file" in bad[1].error) == (0, True)
    assert "no backend recognises it" in bad[2].error
    assert bad[3].error


def test_no_models_is_an_empty_list(registry):
    """Without models there is nothing to say."""
    assert describe([], registry) == []

"""What there is to say of a model without loading it."""

import os

import pytest

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.listing import describe
from pilotlight_backend import LoadOptions


def test_models_are_described_by_their_headers(registry, backend, write):
    """A model's backend, facts and modification time are listed, and nothing is loaded."""
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
    assert (bad[1].created, bad[1].error) == (0, "gone.fake: No such file or directory")
    assert "no backend recognises it" in bad[2].error
    assert bad[3].error == f"{'x' * 300}: File name too long"


def test_trouble_is_the_files(registry, write, tmp_path):
    """A file that is whole and unsupported is distinguished from one that is damaged or missing."""
    served, draws = write("m"), write("draws", unserved="it draws pictures")
    torn = write("torn")
    torn.path.write_text("{")
    gone = ModelEntry("gone", tmp_path / "gone.fake", "configured", ModelOptions(path="gone.fake"))
    listed = describe([served, draws, torn, gone], registry)
    assert [one.trouble for one in listed] == [None, "unsupported", "invalid", "invalid"]
    assert listed[1].error == "draws.fake: it draws pictures"


@pytest.mark.parametrize(
    ("trained", "asked", "served"),
    [(512, None, 512), (32_768, None, 4096), (512, 100, 100), (512, 1000, 512)],
)
def test_context_is_that_which_is_served(registry, write, trained, asked, served):
    """It is what a request may have, and not what the model was trained with."""
    entry = write("m", context_length=trained)
    (listed,) = describe([entry], registry, lambda _: LoadOptions(context_length=asked))
    assert listed.facts.context_length == served


def test_no_models_is_an_empty_list(registry):
    """Without models there is nothing to say."""
    assert describe([], registry) == []

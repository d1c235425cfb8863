"""Where cached prompts are stored: what cannot work is an error at the start, in one line."""

import pytest

from pilotlight.config import ConfigError, Settings, state_address
from pilotlight.server.app import create_app


def test_a_folder_is_taken_whether_it_exists_or_not(tmp_path):
    assert state_address(None) is None
    assert state_address(str(tmp_path)) == str(tmp_path)
    assert state_address(str(tmp_path / "later")) == str(tmp_path / "later")


def test_a_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert state_address("~/prompts") == "/home/ann/prompts"


def test_a_bucket_is_taken_as_it_is():
    assert state_address("gs://bucket/prompts") == "gs://bucket/prompts"
    assert state_address("s3://bucket") == "s3://bucket"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("http://host/x", "expected a folder, gs://… or s3://…, not http://"),
        ("memory://x", "expected a folder, gs://… or s3://…, not memory://"),
        ("gs://", "expected a bucket, such as gs://bucket/folder"),
        ("s3:///", "expected a bucket, such as s3://bucket/folder"),
        ("~nobody-has-this-name/x", "there is no home folder to expand its ~"),
    ],
)
def test_what_is_no_storage_is_named(given, reason):
    with pytest.raises(ConfigError) as raised:
        state_address(given)
    assert str(raised.value) == f"--state-dir {given}: {reason}"


def test_a_file_is_no_folder(tmp_path):
    """Found when the application is built, before anything is loaded."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"file: it is a file; expected a folder"):
        create_app(Settings(state_dir=str(file), models_dir=tmp_path, cache_dir=tmp_path))


def test_a_folder_that_cannot_be_looked_at_costs_the_cache_alone(tmp_path):
    """A mount may come back: the server starts, and warns when it uses the folder."""
    path = str(tmp_path / ("x" * 300))
    assert state_address(path) == path


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_library_that_is_missing_is_named_with_its_extra(monkeypatch, scheme):
    installed = {"obstore"}
    monkeypatch.setattr(
        "pilotlight.config.state_dir.find_spec", lambda name: name if name in installed else None
    )
    address = f"{scheme}://bucket"
    assert state_address(address) == address
    installed.clear()
    with pytest.raises(ConfigError) as raised:
        state_address(address)
    message = f"--state-dir {address}: obstore is not installed"
    assert str(raised.value) == f"{message}: pip install 'pilotlight[buckets]'"

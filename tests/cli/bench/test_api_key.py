"""The key that measurements send."""

import pytest

from pilotlight.cli.bench.cold_start import StartFailed, measure
from pilotlight.cli.bench.command import key_headers
from pilotlight.config import ConfigError

pytestmark = pytest.mark.slow


def test_the_key_is_sent_as_clients_send_it():
    """A line's end, which files and shells leave there, is no part of it."""
    assert key_headers({"OPENAI_API_KEY": "sk-one\n"}) == {"Authorization": "Bearer sk-one"}


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " "}])
def test_without_a_key_no_header_is_sent(environ):
    """An empty one is none: `Bearer ` alone is refused by servers that want no key."""
    assert key_headers(environ) == {}


@pytest.mark.parametrize("key", ["sk-öne", "sk one", "sk\r\nHost: x", "sk\x00"])
def test_a_key_that_no_header_holds_is_refused_unseen(key):
    """The error names the variable, and does not contain the key."""
    with pytest.raises(ConfigError) as caught:
        key_headers({"OPENAI_API_KEY": key})
    assert "OPENAI_API_KEY" in str(caught.value)
    assert key not in str(caught.value)


def test_a_start_with_keys_is_measured(tmp_path, monkeypatch):
    """The server takes its keys from the environment, and is asked with the one given."""
    monkeypatch.setenv("PILOTLIGHT_API_KEYS", "bench-key-1")
    flags = [f"--models-dir={tmp_path}", f"--models-file={tmp_path / 'none.yaml'}"]
    headers = key_headers({"OPENAI_API_KEY": "bench-key-1"})
    asked = {"model": "spark", "prompt": "Hello!", "rounds": 1, "files": None}
    (start,) = measure(flags, **asked, headers=headers)
    assert start.first_token > 0
    with pytest.raises(StartFailed, match="invalid_api_key"):
        list(measure(flags, **asked))

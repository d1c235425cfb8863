"""Conversations that go on after the server was shut down and started again."""

import re

import httpx
import pytest

from tests.conftest import CHAT
from tests.end_to_end.test_process import run, served

SYSTEM = "You add numbers, one after another, and say what you have so far. " * 8
TURNS = ("What is 2+2?", "And 3 more?")


class Conversation:
    """A client's conversation, which outlives the server."""

    def __init__(self):
        self.messages = [{"role": "system", "content": SYSTEM}]

    def say(self, server, text):
        """Send the next turn; return its cached tokens, its prompt tokens and its phases."""
        self.messages.append({"role": "user", "content": text})
        response = httpx.post(
            server.url + CHAT,
            json={
                "model": "spark",
                "messages": self.messages,
                "max_tokens": 12,
                "temperature": 0,
            },
            timeout=60,
        )
        answer = response.json()
        self.messages.append(answer["choices"][0]["message"])
        usage = answer["usage"]
        phases = re.findall(r"(\w+);dur", response.headers.get("server-timing", ""))
        return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"], phases


def flags(folder):
    """Return how to serve spark alone."""
    nowhere = ("--models-dir", str(folder / "m"), "--models-file", str(folder / "m.yaml"))
    return (*nowhere, "--backends", "llama_cpp")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return the messages of a conversation with a server that was not shut down meanwhile."""
    conversation = Conversation()
    with served(*flags(tmp_path_factory.mktemp("unbroken"))) as server:
        for text in TURNS:
            conversation.say(server, text)
    return conversation.messages


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_the_next_turn_after_a_restart_finds_its_history(tmp_path, isolation, unbroken):
    """With the answers of a server that was not shut down; then the storage is cleared."""
    folder = tmp_path / "states"
    kept = (*flags(tmp_path), "--isolation", isolation, "--state-dir", str(folder))
    restarted, before = Conversation(), 0
    for number, text in enumerate(TURNS):
        with served(*kept) as server:
            cached, whole, phases = restarted.say(server, text)
            assert server.stop() == 0
        assert cached >= before * 0.9, number
        assert ("restore" in phases) == bool(number)
        before = whole
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert restarted.messages == unbroken
    cleared = run("prompt-cache", "clear", "--state-dir", str(folder))
    assert cleared.stdout.startswith(f"{folder}: deleted ")
    assert list(folder.iterdir()) == []

"""A request to an engine, and what it heard."""

import threading
from queue import SimpleQueue

from pilotlight_backend import Failed, Finish, GenerateRequest, SamplingParams, Token

DEADLINE = 60
GREEDY = SamplingParams(temperature=0.0)


class Answer:
    """Submits a request, and waits for its events."""

    def __init__(self, engine, prompt, *, max_tokens=24, ignore_eos=True, **fields):
        self.events = []
        self._ended = threading.Event()
        self._heard = SimpleQueue()
        self.ticket = engine.submit(
            GenerateRequest(
                prompt=tuple(prompt), max_tokens=max_tokens, ignore_eos=ignore_eos, **fields
            ),
            self._hear,
        )

    def _hear(self, event):
        self.events.append(event)
        self._heard.put(event)
        if isinstance(event, Finish | Failed):
            self._ended.set()

    def next(self):
        return self._heard.get(timeout=DEADLINE)

    @property
    def last(self):
        assert self._ended.wait(DEADLINE)
        return self.events[-1]

    @property
    def tokens(self):
        assert isinstance(self.last, Finish), self.last
        return [event.id for event in self.events if isinstance(event, Token)]


def prompt_of(seed, length=40):
    """Return a prompt of tokens that any vocabulary of 500 has."""
    return [(seed * 7919 + index * 104729) % 500 for index in range(length)]

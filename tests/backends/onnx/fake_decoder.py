"""A model without weights: it remembers what it was asked, and answers by rule."""

import threading

import numpy as np

from tests.backends.answer import DEADLINE

END = 0
"""The fake vocabulary's end-of-generation token."""
VOCABULARY = 1024


class Gate:
    """A place in a call where its thread waits until a test lets it on."""

    def __init__(self):
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self, _generator):
        self._reached.set()
        assert self._opened.wait(DEADLINE)

    def wait(self):
        """Wait until a thread stands here."""
        assert self._reached.wait(DEADLINE)

    def open(self):
        self._opened.set()


class UntilTerminated(Gate):
    """A place in a call where its thread waits until the generator is terminated."""

    def __call__(self, generator):
        self._reached.set()
        assert generator.terminated.wait(DEADLINE)


class FakeGenerator:
    """One sequence; the token after n tokens is n, until the decoder's *answers* say else."""

    def __init__(self, decoder, room):
        self.decoder = decoder
        self.room = room
        self.held = []
        self.appends = []
        self.rewinds = []
        self.terminated = threading.Event()
        self.closed = False

    def append(self, tokens):
        assert not self.closed
        assert tokens
        self.decoder.happen("append", self)
        if self.terminated.is_set() and self.decoder.obeys:
            raise RuntimeError("the session was terminated")
        self.held.extend(tokens)
        assert len(self.held) <= self.room, "more than there is room for"
        self.appends.append(tuple(tokens))

    def logits(self):
        assert not self.closed
        self.decoder.happen("logits", self)
        token = self.decoder.answers.pop(0) if self.decoder.answers else len(self.held)
        scores = np.zeros(VOCABULARY, dtype=np.float32)
        scores[token] = 1
        return scores

    def rewind(self, length):
        assert not self.closed
        assert 0 < length <= len(self.held)
        self.decoder.happen("rewind", self)
        self.rewinds.append(length)
        del self.held[length:]

    def terminate(self):
        self.terminated.set()

    def resume(self, length):
        self.decoder.happen("resume", self)
        self.terminated.clear()
        self.rewind(length)

    def close(self):
        assert not self.closed
        self.closed = True


class FakeDecoder:
    """Opens generators, keeps them all, and says of each that it is closed in time."""

    def __init__(self):
        self.generators = []
        self.answers = []
        self.obeys = True
        """Whether `append` raises once its generator is terminated."""
        self.closed = False
        self._next = {}

    def next(self, call, *happenings):
        """Let the next *call*s of any generator meet *happenings*; None is nothing."""
        self._next.setdefault(call, []).extend(happenings)

    def happen(self, call, generator):
        waiting = self._next.get(call)
        happening = waiting.pop(0) if waiting else None
        if happening is not None:
            happening(generator)

    def open(self, max_length):
        assert not self.closed
        self.happen("open", None)
        generator = FakeGenerator(self, max_length)
        self.generators.append(generator)
        return generator

    def piece(self, token):
        self.happen("piece", None)
        return b"<%d>" % token

    def is_end(self, token):
        return token == END

    def close(self):
        assert not self.closed
        assert all(generator.closed for generator in self.generators)
        self.closed = True

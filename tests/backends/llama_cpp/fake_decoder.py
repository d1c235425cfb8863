"""A context without a model: it remembers what it was asked, and answers by rule."""

import sys
from concurrent.futures import Future
from types import SimpleNamespace

from pilotlight_backend import Candidate, Token
from pilotlight_llama_cpp.batch import Decoded

END = 0
"""The fake vocabulary's end-of-generation token."""


class FakeFlag:
    """Stops a decode that looks at it."""

    def __init__(self):
        self.up = False

    def set(self):
        self.up = True

    def clear(self):
        self.up = False

    def is_set(self):
        return self.up


class FakeDecoder:
    """Holds what each slot was given; the token after n tokens is n, until *answers* says else."""

    def __init__(self):
        self.abort = FakeFlag()
        self.held = {}
        self.batches = []
        self.expected = []
        self.room = sys.maxsize
        self.shortage = "the context cannot grow"
        self.outcomes = []
        """Of the next decodes; once it is empty they succeed."""
        self.truncates = True
        self.adapters = []
        """What each decode applied."""
        self.baked = ()
        self.restores = True
        self.restored = []
        """The slots that were given the baked prompt."""
        self.recovered = []
        """Slot and length, after a decode that was aborted."""
        self.copies = []
        """Source, target and length of what was copied."""
        self.answers = []
        self.withheld = []
        """What could not be chosen, at each choice that was restricted."""
        self.accepted = []
        """Forced tokens that samplers look back on."""
        self.open_samplers = 0
        self.making = []
        """Samplers that another thread makes: those of requests with DRY."""
        self.closed = False
        self.rows = []

    def adapt(self, adapters):
        self.adapters.append(adapters)

    def decode(self, runs):
        self.batches.append([(run.slot, run.start, tuple(run.tokens)) for run in runs])
        outcome = self.outcomes.pop(0) if self.outcomes else Decoded.DONE
        if callable(outcome):
            outcome = outcome(runs)
        if self.abort.up:
            outcome = Decoded.ABORTED
        self.rows = []
        if outcome is Decoded.DONE:
            for run in runs:
                held = self.held.setdefault(run.slot, [])
                assert len(held) == run.start, "a hole in the cache"
                for token in run.tokens:
                    held.append(token)
                    self.rows.append(len(held))
        return outcome

    def expect(self, length):
        self.expected.append(length)

    def truncate(self, slot, length):
        held = self.held.setdefault(slot, [])
        assert length <= len(held)
        kept = self.truncates or length in {0, len(held)}
        del held[length if kept else 0 :]
        return kept

    def recover(self, slot, length):
        self.recovered.append((slot, length))
        if not self.truncates:
            self.held[slot] = []
        return self.truncates

    def restore(self, slot):
        self.restored.append(slot)
        self.held[slot] = list(self.baked) if self.restores else []
        return self.restores

    def copy(self, source, target, length, _state=None):
        self.copies.append((source, target, length))
        held = self.held[source][:length]
        copied = self.restores and len(held) == length
        self.held[target] = held if copied else []
        return copied

    def sampler(self, _params, _prompt):
        self.open_samplers += 1
        return SimpleNamespace(close=self._close_sampler)

    def sampler_beside(self, params, _prompt):
        if not params.dry_multiplier:
            return None
        self.making.append(Future())
        return self.making[-1]

    def make(self):
        """Make the first sampler that is being made, as its thread does."""
        making = self.making.pop(0)
        if making.set_running_or_notify_cancel():
            making.set_result(self.sampler(None, None))

    def _close_sampler(self):
        self.open_samplers -= 1

    def rest(self):
        pass

    def sample(self, _sampler, row):
        return self.answers.pop(0) if self.answers else self.rows[row]

    def sample_guided(self, sampler, row, _guide, *, withheld, restore):  # noqa: ARG002
        self.withheld.append(tuple(withheld))
        return self.sample(sampler, row)

    def accept(self, _sampler, token):
        self.accepted.append(token)

    def with_logprobs(self, token, row, count):
        candidates = tuple(Candidate(n, b"<%d>" % n, -1.0 - n) for n in range(count))
        return Token(token, self.token(token)[0], -float(row), candidates)

    def token(self, token):
        return b"<%d>" % token, token == END

    def close(self):
        self.closed = True

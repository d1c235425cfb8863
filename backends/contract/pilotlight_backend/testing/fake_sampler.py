"""Chooses the fake's tokens: the reply's, as far as the request and its guide allow them."""

from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice, repeat

from pilotlight_backend.errors import GuideFailed, InferenceFailed
from pilotlight_backend.guide import Guide
from pilotlight_backend.image import Image
from pilotlight_backend.testing.fake_model import FakeModel
from pilotlight_backend.testing.fake_sequence import FakeSequence
from pilotlight_backend.testing.fake_tokenizer import FakeTokenizer, reply_of
from pilotlight_backend.types import Candidate, GenerateRequest, PromptPart, Token


class FakeSampler:
    """Samples for every request of a model; it keeps no state of any."""

    def __init__(self, model: FakeModel, tokenizer: FakeTokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        special = tokenizer.special
        self.eos = special.get(model.eos_token, special["<|endoftext|>"])
        """The token that ends an answer."""

    def reply(self, request: GenerateRequest) -> Iterator[int]:
        """Return the tokens that answer *request*; they never end."""
        ids = reply_of(self._model, self._tokenizer, self._read(request.prompt))
        reply = _endless(ids) if request.ignore_eos else chain(ids, repeat(self.eos))
        if count := request.min_tokens:
            unstopped = [token for token in ids if token not in request.stop_token_ids]
            reply = chain(islice(_endless(unstopped), count), islice(reply, count, None))
        return reply

    def _read(self, prompt: Sequence[PromptPart]) -> list[int]:
        """Return *prompt* with a text in the place of each image."""
        read: list[int] = []
        for part in prompt:
            read += (
                b"[image %d x %d]" % (part.width, part.height)
                if isinstance(part, Image)
                else [part]
            )
        return read

    def step(self, sequence: FakeSequence) -> Iterator[int | InferenceFailed]:
        """Yield the tokens of a step, or the error that ends the request.

        That is a chosen token and what is forced behind it. The caller records each one at once.
        """
        fail_after = self._model.fail_after
        if fail_after is not None and sequence.completion >= fail_after:
            yield InferenceFailed(f"the model fails after {sequence.completion} tokens")
            return
        try:
            yield from self._forced(sequence, is_due=True)
            yield self._choose(sequence)
            yield from self._forced(sequence)
        except GuideFailed as error:
            yield error

    def _choose(self, sequence: FakeSequence) -> int:
        guide = sequence.request.guide
        return sequence.wanted if guide is None else self._guided(sequence, guide)

    def _forced(self, sequence: FakeSequence, *, is_due: bool = False) -> Iterator[int]:
        """Yield what the guide forces; before a token is chosen, only if that *is_due*."""
        forcing, slot = sequence.forcing, sequence.slot
        if forcing is not None and slot is not None and (forcing.is_due or not is_due):
            yield from forcing.take(slot.held)

    def _guided(self, sequence: FakeSequence, guide: Guide) -> int:
        """Return the likeliest token that *guide* allows.

        That is the reply's next token, else the one that ends the answer, else the lowest.
        """
        request = sequence.request
        # Tests without a guide need no numpy.
        import numpy as np  # noqa: PLC0415

        from pilotlight_backend import guided_decoding  # noqa: PLC0415

        logits = -np.arange(self._tokenizer.size, dtype=np.float32)
        logits[self.eos] = 1
        logits[sequence.wanted] = 2
        guided_decoding.restrict(guide, logits)
        if request.ignore_eos:
            guided_decoding.withhold(logits, [self.eos])
        if sequence.completion < request.min_tokens:
            guided_decoding.withhold(logits, [self.eos, *request.stop_token_ids])
        token = int(logits.argmax())
        guided_decoding.accept(guide, token, logits)
        return token

    def event(self, token: int, wanted: int, logprobs: int | None) -> Token:
        """Return *token* as an event; in its log probabilities *wanted* is the likeliest."""
        piece = self._tokenizer.piece
        if logprobs is None:
            return Token(token, piece(token))
        size = self._tokenizer.size
        ids = [(wanted + index) % size for index in range(logprobs)]
        likeliest = tuple(
            Candidate(id=one, piece=piece(one), logprob=-0.5 - index)
            for index, one in enumerate(ids)
        )
        return Token(token, piece(token), -0.5 - (token - wanted) % size, likeliest)


def _endless(ids: Sequence[int]) -> Iterator[int]:
    """Repeat *ids*; spaces if there are none."""
    return cycle(ids or b" ")

"""Guides: which tokens they allow and accept, and which request their failure ends."""
# ruff: noqa: S101 - the suite asserts

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import InferenceFailed
from pilotlight_backend.guide import Forced, Guide, Vocabulary
from pilotlight_backend.logits import Logits
from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import (
    GREEDY,
    eventually,
    request_of,
    run,
    submit,
)
from pilotlight_backend.types import Failed, SamplingParams, Token

LENGTH = 8
LIKELIEST = 3
SAMPLED = {
    "greedy": GREEDY,
    "sampled": SamplingParams(temperature=1.0, seed=5),
    "top_p": SamplingParams(temperature=1.3, top_p=0.5, seed=5),
    "filtered": SamplingParams(temperature=1.0, top_k=3, top_p=0.9, min_p=0.2, seed=5),
    "wide": SamplingParams(temperature=1.0, top_k=200, min_p=0.01, seed=5),
    "penalised": SamplingParams(
        temperature=0.7,
        presence_penalty=1.5,
        frequency_penalty=0.5,
        repeat_penalty=1.3,
        logit_bias={1: 90.0, 2: -90.0},
        seed=5,
    ),
}


class RecordingGuide:
    """Allows in each step the tokens that *choose* returns for its number, and records them."""

    def __init__(self, choose: Callable[[int], Iterable[int]]) -> None:
        self.accepted: list[int] = []
        self.likeliest: list[int] = []
        """Of each step, the likeliest token among those that were allowed."""
        self.sizes: set[int] = set()
        self.threads: set[int] = set()
        self._choose = choose

    def restrict(self, logits: Logits) -> None:
        """Allow what is to be allowed."""
        allowed = sorted(self._choose(len(self.accepted)))
        kept = logits[allowed]
        logits[:] = -np.inf
        logits[allowed] = kept
        self.sizes.add(logits.size)
        self.threads.add(threading.get_ident())
        if allowed:
            self.likeliest.append(allowed[int(np.argmax(kept))])

    def accept(self, token: int) -> None:
        """Keep the token."""
        self.accepted.append(token)


class BrokenGuide(RecordingGuide):
    """Raises in its third step, in `restrict` or in `accept`."""

    def __init__(self, method: str, allowed: Iterable[int]) -> None:
        super().__init__(lambda _: allowed)
        self._method = method

    def restrict(self, logits: Logits) -> None:
        """Raise, perhaps."""
        self._perhaps_raise("restrict")
        super().restrict(logits)

    def accept(self, token: int) -> None:
        """Raise, perhaps."""
        self._perhaps_raise("accept")
        super().accept(token)

    def _perhaps_raise(self, method: str) -> None:
        if method == self._method and len(self.accepted) == BROKEN_STEP:
            raise ZeroDivisionError("the guide is broken")


BROKEN_STEP = 2
TEXT = b'{"name": "look_up_person", "arguments": {"name": "A llama", "height": 160}}'


class DictatingGuide:
    """Allows *text* alone, in any spelling, and forces it; with *text* complete only an end."""

    def __init__(self, vocabulary: Vocabulary, text: bytes = TEXT, *, broken: str = "") -> None:
        """*broken* is a method that raises once a token has been accepted."""
        self.accepted: list[int] = []
        self.restricted = 0
        self._vocabulary = vocabulary
        self._text = text
        self._broken = broken

    @property
    def text(self) -> bytes:
        """The bytes of what was accepted."""
        return b"".join(
            self._vocabulary.pieces[token]
            for token in self.accepted
            if token not in self._vocabulary.ends
        )

    def restrict(self, logits: Logits) -> None:
        """Allow every spelling of what must come."""
        self.restricted += 1
        pieces = enumerate(self._vocabulary.pieces)
        left = self._left
        allowed = [one for one, piece in pieces if piece and left.startswith(piece)]
        kept = allowed if left else sorted(self._vocabulary.ends)
        scores = logits[kept]
        logits[:] = -np.inf
        logits[kept] = scores

    def accept(self, token: int) -> None:
        """Keep the token."""
        self.accepted.append(token)

    def forced(self) -> Forced:
        """Return what is left of the text."""
        self._perhaps_raise("forced")
        return Forced(self._left, end=not self._left)

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* are a part of the text."""
        self._perhaps_raise("admits")
        pieces = self._vocabulary.pieces
        left = self._left
        for count, token in enumerate(tokens):
            if token in self._vocabulary.ends if left else token not in self._vocabulary.ends:
                return count
            if left and not (pieces[token] and left.startswith(pieces[token])):
                return count
            left = left[len(pieces[token]) :]
        return len(tokens)

    @property
    def _left(self) -> bytes:
        return self._text[len(self.text) :]

    def _perhaps_raise(self, method: str) -> None:
        if method == self._broken and self.accepted:
            raise ZeroDivisionError("the guide is broken")


class GuideConformance(ConformanceFixtures):
    """`GenerateRequest.guide`."""

    @pytest.mark.parametrize("sampling", SAMPLED.values(), ids=SAMPLED)
    def test_only_what_the_guide_allows_is_chosen(
        self, engine: Engine, prompt: list[int], sampling: SamplingParams
    ) -> None:
        """With any sampling, every token is an allowed one, and the guide accepts each."""
        allowed = set(range(3, len(engine.vocabulary().pieces), 7))
        guide = RecordingGuide(lambda _: allowed)
        listener = run(engine, replace(request_of(prompt, LENGTH, sampling=sampling), guide=guide))
        assert listener.tokens == guide.accepted
        assert len(listener.tokens) == LENGTH
        assert allowed.issuperset(listener.tokens)
        if sampling is GREEDY:
            assert listener.tokens == guide.likeliest
        assert guide.threads == listener.threads
        assert guide.sizes == {len(engine.vocabulary().pieces)}

    @pytest.mark.parametrize("sampling", SAMPLED.values(), ids=SAMPLED)
    def test_guide_that_allows_one_token_is_obeyed(
        self, engine: Engine, prompt: list[int], sampling: SamplingParams
    ) -> None:
        """If one token is allowed, it is sampled, however unlikely it is."""
        forced = prompt[::-1][:LENGTH]
        guide = RecordingGuide(lambda step: forced[step : step + 1])
        request = request_of(prompt, len(forced), sampling=sampling)
        assert run(engine, replace(request, guide=guide)).tokens == forced

    def test_guide_that_allows_all_changes_nothing(self, engine: Engine, prompt: list[int]) -> None:
        """A guide that allows everything changes no token, greedy or with a seed."""
        everything = range(len(engine.vocabulary().pieces))
        for sampling in (GREEDY, SAMPLED["filtered"]):
            request = request_of(prompt, LENGTH, sampling=sampling)
            plain = run(engine, request).tokens
            guide = RecordingGuide(lambda _: everything)
            assert run(engine, replace(request, guide=guide)).tokens == plain

    @pytest.mark.parametrize("method", ["restrict", "accept"])
    def test_guide_that_raises_ends_its_own_request(
        self, engine: Engine, prompt: list[int], method: str
    ) -> None:
        """A guide that raises fails its own request; the other one gets all its tokens."""
        alone = run(engine, request_of(prompt, LENGTH)).tokens
        beside = submit(engine, request_of(prompt, LENGTH))
        guide = BrokenGuide(method, alone)
        broken = submit(engine, replace(request_of(prompt, LENGTH), guide=guide))
        _assert_failed(broken.listener.wait())
        assert broken.listener.tokens == guide.accepted
        assert len(guide.accepted) == BROKEN_STEP
        beside.listener.finish()
        assert beside.listener.tokens == alone
        assert eventually(lambda: engine.stats().slots_busy == 0)
        assert run(engine, request_of(prompt, LENGTH)).tokens == alone

    def test_guide_that_allows_nothing_is_a_failure(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """A guide that allows no token fails its request, and no refused token is emitted."""
        for sampling in (GREEDY, SAMPLED["sampled"]):
            guide = RecordingGuide(lambda _: ())
            request = request_of(prompt, LENGTH, sampling=sampling)
            listener = submit(engine, replace(request, guide=guide)).listener
            _assert_failed(listener.wait())
            assert listener.tokens == guide.accepted == []

    def test_logprobs_are_the_models_own(self, engine: Engine, prompt: list[int]) -> None:
        """Log probabilities are the model's, from before the guide."""
        request = replace(request_of(prompt, 2), logprobs=LIKELIEST)
        plain = next(event for event in run(engine, request).events if isinstance(event, Token))
        refused = {one.id for one in plain.candidates}
        allowed = [token for token in prompt if token not in refused] or [
            next(token for token in range(LIKELIEST + 1) if token not in refused)
        ]
        guide: Guide = RecordingGuide(lambda _: allowed)
        listener = run(engine, replace(request, guide=guide))
        told = next(event for event in listener.events if isinstance(event, Token))
        assert told.candidates == plain.candidates
        assert told.id in allowed
        assert told.logprob is not None
        assert told.logprob <= told.candidates[-1].logprob

    def test_guide_may_force_the_end(self, engine: Engine, prompt: list[int]) -> None:
        """If only an end token is allowed, the request ends by it, and the guide accepts it."""
        ends = engine.vocabulary().ends
        guide = RecordingGuide(lambda step: ends if step else prompt[:1])
        request = request_of(prompt, LENGTH, ignore_eos=False)
        finish = run(engine, replace(request, guide=guide)).finish()
        assert (finish.reason, finish.usage.completion_tokens) == ("stop", 2)
        assert guide.accepted[0] == prompt[0]
        assert guide.accepted[1] in ends

    def test_guide_accepts_a_stop_token(self, engine: Engine, prompt: list[int]) -> None:
        """A stop token ends the request and is not emitted; the guide accepts it like any other."""
        guide = RecordingGuide(lambda _: prompt[:1])
        request = request_of(prompt, LENGTH, stop_token_ids=frozenset(prompt[:1]))
        listener = run(engine, replace(request, guide=guide))
        assert listener.finish().reason == "stop"
        assert listener.tokens == []
        assert guide.accepted == prompt[:1]

    @pytest.mark.parametrize("sampling", SAMPLED.values(), ids=SAMPLED)
    def test_forced_text_is_emitted_and_counted(
        self, engine: Engine, prompt: list[int], sampling: SamplingParams
    ) -> None:
        """What a guide forces comes, is accepted and counted; then the request ends by itself."""
        guide = DictatingGuide(engine.vocabulary())
        request = request_of(prompt, 200, sampling=sampling, ignore_eos=False)
        listener = run(engine, replace(request, guide=guide))
        finish = listener.finish()
        assert guide.text == TEXT
        assert listener.tokens == guide.accepted[:-1]
        assert guide.accepted[-1] in engine.vocabulary().ends
        assert (finish.reason, finish.usage.completion_tokens) == ("stop", len(guide.accepted))

    def test_forced_text_ends_with_the_length(self, engine: Engine, prompt: list[int]) -> None:
        """No token is emitted or accepted beyond `max_tokens`, forced or not."""
        for length in range(1, LENGTH):
            guide = DictatingGuide(engine.vocabulary())
            listener = run(engine, replace(request_of(prompt, length), guide=guide))
            assert listener.finish().reason == "length"
            assert listener.tokens == guide.accepted
            assert len(guide.accepted) == length

    def test_forced_stop_token_ends_the_request(self, engine: Engine, prompt: list[int]) -> None:
        """A stop token within forced text ends the request, unless another spelling is chosen."""
        whole = DictatingGuide(engine.vocabulary())
        run(engine, replace(request_of(prompt, 200, ignore_eos=False), guide=whole))
        stop = whole.accepted[3]
        guide = DictatingGuide(engine.vocabulary())
        request = request_of(prompt, 200, stop_token_ids=frozenset({stop}))
        finish = run(engine, replace(request, guide=guide)).finish()
        assert finish.reason == "stop"
        assert stop not in guide.accepted[:-1]

    def test_forced_tokens_have_the_models_logprobs(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """With `logprobs` every token has them, also where nothing else could come."""
        guide = DictatingGuide(engine.vocabulary())
        request = request_of(prompt, 200, ignore_eos=False)
        listener = run(engine, replace(request, guide=guide, logprobs=LIKELIEST))
        tokens = [event for event in listener.events if isinstance(event, Token)]
        assert guide.text == TEXT
        assert all(one.logprob is not None and one.logprob <= 0 for one in tokens)
        assert {len(one.candidates) for one in tokens} == {LIKELIEST}

    @pytest.mark.parametrize("method", ["forced", "admits"])
    def test_guide_that_fails_to_force_ends_its_own_request(
        self, engine: Engine, prompt: list[int], method: str
    ) -> None:
        """A guide that raises there fails its own request, as elsewhere, if the engine asks it."""
        alone = run(engine, request_of(prompt, LENGTH)).tokens
        beside = submit(engine, request_of(prompt, LENGTH))
        guide = DictatingGuide(engine.vocabulary(), broken=method)
        request = request_of(prompt, 200, ignore_eos=False)
        broken = submit(engine, replace(request, guide=guide))
        end = broken.listener.wait()
        if isinstance(end, Failed):
            _assert_failed(end)
            assert broken.listener.tokens == guide.accepted
        beside.listener.finish()
        assert beside.listener.tokens == alone

    def test_guided_request_is_cancelled_like_any(self, engine: Engine, prompt: list[int]) -> None:
        """A cancel ends a guided request, and its guide is not called again."""
        guide = RecordingGuide(lambda _: prompt)
        request = replace(request_of(prompt, 100), guide=guide)
        submitted = submit(engine, request, slow=True)
        submitted.listener.wait_tokens(2)
        submitted.ticket.cancel()
        submitted.listener.hurry()
        assert submitted.listener.finish().reason == "cancelled"
        heard = len(guide.accepted)
        run(engine, request_of(prompt, LENGTH))
        assert len(guide.accepted) == heard == len(submitted.listener.tokens)


def _assert_failed(end: object) -> None:
    assert isinstance(end, Failed), end
    assert isinstance(end.error, InferenceFailed), end.error

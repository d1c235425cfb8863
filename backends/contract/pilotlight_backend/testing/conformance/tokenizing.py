"""Tokenising: text of any kind, special tokens or none."""
# ruff: noqa: S101 - the suite asserts

import threading

import pytest

from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import within

UGLY_TEXTS = {
    "accents": "Zażółć gęślą jaźń",
    "ideographs": "你好,世界",
    "emoji": "👩‍👩‍👧‍👦 🦙",
    "right_to_left": "שלום عالم",
    "control": "\x00\x01\x7f\u200b\ufeff",
    "whitespace": " \t\r\n\u00a0\u2028",
    "lone_surrogate": "a\ud800b",
    "noncharacter": "\uffff\U0010ffff",
}


class TokenizeConformance(ConformanceFixtures):
    """`Engine.tokenize`."""

    def test_empty_text_is_no_token(self, engine: Engine) -> None:
        """Nothing is added at either end, so an empty text has no tokens."""
        assert engine.tokenize("", special=False) == []
        assert engine.tokenize("", special=True) == []

    def test_text_starts_with_no_bos(self, engine: Engine, prompt_text: str) -> None:
        """A text's tokens do not start with the model's first token: the service adds that."""
        bos = engine.tokenize(engine.facts.bos_token, special=True)
        ids = engine.tokenize(prompt_text, special=True)
        assert ids
        assert not bos or ids[: len(bos)] != bos

    def test_plain_text_has_the_same_tokens_either_way(
        self, engine: Engine, prompt_text: str
    ) -> None:
        """A text without special tokens' names is tokenised the same with and without them."""
        assert engine.tokenize(prompt_text, special=True) == engine.tokenize(
            prompt_text, special=False
        )

    def test_special_token_is_one_token_only_on_request(self, engine: Engine) -> None:
        """The end token's name is its id with `special`, and mere text without."""
        if not engine.facts.eos_token:
            pytest.skip("the model has no end token")
        special = engine.tokenize(engine.facts.eos_token, special=True)
        assert len(special) == 1
        assert engine.tokenize(engine.facts.eos_token, special=False) != special

    def test_names_stay_text_where_they_are_verbatim(self, engine: Engine) -> None:
        """Of a name that comes twice, the one in a verbatim part is spelled by other tokens."""
        name = engine.facts.eos_token
        if not name:
            pytest.skip("the model has no end token")
        assert name in engine.facts.control_names
        (end,) = engine.tokenize(name, special=True)
        text, at = f"one {name} two {name}", len("one ")
        ids = engine.tokenize(text, special=True, verbatim=[(at, at + len(name))])
        assert ids[-1] == end
        assert end not in ids[:-1]
        pieces = engine.vocabulary().pieces
        assert b"".join(pieces[token] for token in ids).decode().strip() == text

    @pytest.mark.parametrize("kind", UGLY_TEXTS)
    def test_any_text_has_tokens(self, engine: Engine, kind: str) -> None:
        """Any text, valid or not, has tokens, and always the same."""
        ids = engine.tokenize(UGLY_TEXTS[kind], special=False)
        assert ids
        assert all(isinstance(token, int) and token >= 0 for token in ids)
        assert engine.tokenize(UGLY_TEXTS[kind], special=False) == ids

    def test_text_goes_on_after_a_null_character(self, engine: Engine) -> None:
        """A null character ends no text."""
        assert engine.tokenize("a\x00bcd", special=False) != engine.tokenize("a", special=False)

    @pytest.mark.parametrize("text", ["All work and no play. " * 5000, "a" * 20000], ids=len)
    def test_long_text_has_tokens(self, engine: Engine, text: str) -> None:
        """A very long text, even of one word, has tokens in a bounded time."""
        assert within(lambda: engine.tokenize(text, special=False))

    def test_any_thread_may_tokenize(self, engine: Engine, prompt_text: str) -> None:
        """Threads that tokenize at the same time get the same ids as one alone."""
        expected = engine.tokenize(prompt_text, special=False)
        results: list[bool] = []

        def work() -> None:
            same = [engine.tokenize(prompt_text, special=False) == expected for _ in range(50)]
            results.append(all(same))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * len(threads)

    def test_vocabulary_spells_what_was_tokenised(self, engine: Engine, prompt_text: str) -> None:
        """The vocabulary has the bytes of every token, and the tokens that end an answer."""
        vocabulary = engine.vocabulary()
        ids = engine.tokenize(prompt_text, special=False)
        spelled = b"".join(vocabulary.pieces[token] for token in ids).decode()
        assert spelled.strip() == prompt_text.strip()
        assert vocabulary.ends
        assert all(0 <= token < len(vocabulary.pieces) for token in vocabulary.ends)

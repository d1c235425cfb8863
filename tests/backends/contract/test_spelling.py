"""How forced bytes are spelled: as the tokenizer does, as far as nothing can change it."""

from itertools import pairwise

import pytest

from pilotlight_backend import Vocabulary
from pilotlight_backend.spelling import Spelling

END = b"<|end|>"


class Merges:
    """A byte-level BPE: the longest run of merges wins, the earliest merge first."""

    def __init__(self, *merges, special=(END,), space=b""):
        self.merges = [tuple(part.encode() for part in merge.split("+")) for merge in merges]
        self.special = list(special)
        pieces = [bytes([byte]) for byte in range(256)]
        pieces += [left + right for left, right in self.merges]
        self.pieces = (*pieces, *self.special)
        self.ids = {piece: token for token, piece in enumerate(self.pieces)}
        self.space = space
        self.calls = 0

    def __call__(self, text):
        self.calls += 1
        data = self.space + text.encode()
        ids = []
        while data:
            name = next((name for name in self.special if data.startswith(name)), None)
            if name is not None:
                ids.append(self.ids[name])
                data = data[len(name) :]
                continue
            ends = [data.find(name) for name in self.special if name in data]
            cut = min(ends, default=len(data))
            ids += self._merged(data[:cut])
            data = data[cut:]
        return ids

    def _merged(self, data):
        parts = [bytes([byte]) for byte in data]
        while True:
            pairs = list(pairwise(parts))
            found = next((merge for merge in self.merges if merge in pairs), None)
            if found is None:
                return [self.ids[part] for part in parts]
            index = pairs.index(found)
            parts[index : index + 2] = [found[0] + found[1]]

    def spelling(self):
        ends = frozenset({self.ids[END]})
        return Spelling(Vocabulary(self.pieces, ends), self)


WORDS = ("n+a", "m+e", "na+me", '"+:', "name+s", '{+"')


def spelled(tokenizer, before, forced):
    spelling = tokenizer.spelling()
    tokens = spelling.certain([tokenizer.ids[piece] for piece in before], forced)
    return [tokenizer.pieces[token] for token in tokens]


def test_last_token_that_may_be_longer_is_left_open():
    """`"` may become `":`, and `name` may not become `names` with a quote behind it."""
    assert spelled(Merges(*WORDS), [b'{"'], b'name"') == [b"name"]


def test_word_at_the_end_is_left_open():
    """Behind `name` may come an `s`, which makes it another token."""
    assert spelled(Merges(*WORDS), [b'{"'], b"name") == []


def test_special_token_at_the_end_is_certain():
    """No token is longer than a marker's."""
    marker = b"</call>"
    tokenizer = Merges(*WORDS, special=(END, marker))
    assert spelled(tokenizer, [b"}"], b"\n</call>") == [b"\n", marker]


def test_spelling_that_the_tokenizer_would_not_have_begun_is_not_continued():
    """The model wrote `n`, where its tokenizer writes `name`: it chooses the rest itself."""
    assert spelled(Merges(*WORDS), [b'{"', b"n"], b'ame"') == []


def test_marker_at_the_beginning_is_certain():
    """A forced text may be all there is, behind the tokens of a prompt."""
    marker = b"<call>"
    tokenizer = Merges(*WORDS, special=(END, marker))
    assert spelled(tokenizer, [b"\n"], b'<call>{"name"') == [marker, b'{"', b"name"]


def test_token_that_a_later_merge_takes_apart_is_left_open():
    """`b` is a token of its own until `cd` follows: then `bc` is merged first."""
    tokenizer = Merges("c+d", "b+cd", "a+b")
    assert spelled(tokenizer, [b"-"], b"xabc") == [b"x"]


def test_space_that_a_tokenizer_adds_is_no_part_of_the_text():
    """SentencePiece puts a space before a text."""
    assert spelled(Merges(*WORDS, space=b" "), [b'{"'], b'name"') == [b"name"]


@pytest.mark.parametrize("forced", [b"\xc3", b"\xff", b"\xa9"])
def test_part_of_a_character_is_left_to_the_model(forced):
    """A tokenizer takes text: bytes that are none are not spelled."""
    assert spelled(Merges(*WORDS), [b"a"], forced) == []


def test_text_up_to_a_cut_character_is_spelled():
    """Two values that begin alike may part within a character."""
    assert spelled(Merges(*WORDS), [b'{"'], b'name":\xc3') == [b"name", b'":']


def test_character_that_began_before_is_completed():
    """The tokens before may end within a character."""
    assert spelled(Merges(*WORDS), [b"\xc3"], b"\xa9}}") == [b"\xa9", b"}", b"}"]


def test_long_text_is_spelled_a_part_at_a_time():
    """A long constant is not tokenized at once on the engine's thread."""
    tokens = spelled(Merges(*WORDS), [b'"'], b"-" * 10_000)
    assert 0 < len(tokens) <= 256


def test_spelling_is_found_once():
    """Agents send the same tools each time: the second time nothing is tokenized."""
    tokenizer = Merges(*WORDS)
    spelling = tokenizer.spelling()
    before = [tokenizer.ids[b'{"']]
    first = spelling.certain(before, b'name"')
    calls = tokenizer.calls
    assert spelling.certain(before, b'name"') == first
    assert tokenizer.calls == calls

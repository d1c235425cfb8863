"""What tokens stand for, in the spellings of the tokenizers in use. Files are made by hand."""

import contextlib
import json

import pytest

from pilotlight_backend import ModelFileInvalid
from pilotlight_onnx.backend import OnnxBackend
from pilotlight_onnx.vocabulary import OnnxVocabulary

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
SENTENCE_PIECE = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}


@pytest.fixture
def vocabulary(tmp_path):
    """Return a function that writes a tokenizer.json, of parts or of bytes, and reads it."""

    def write(vocab=None, data=None, **parts):
        file = {"model": {"type": "BPE", "vocab": {} if vocab is None else vocab}} | parts
        path = tmp_path / "tokenizer.json"
        path.write_bytes(json.dumps(file).encode() if data is None else data)
        return OnnxVocabulary(tmp_path)

    return write


def added(token, content, **fields):
    return {"id": token, "content": content, "special": False, "normalized": False} | fields


@pytest.mark.parametrize(
    "parts",
    [
        {"decoder": BYTE_LEVEL},
        {"pre_tokenizer": BYTE_LEVEL},
        {"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}, BYTE_LEVEL]}},
        {
            "decoder": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Split"}, BYTE_LEVEL],
            },
        },
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}],
            }
        },
    ],
)
def test_byte_level_is_found_wherever_it_is_said(vocabulary, parts):
    """The decoder, the pre-tokenizer, or a part of their sequences says what letters mean."""
    words = vocabulary({"Ġhello": 0, "Ċ": 1, "Ã¼": 2}, **parts)
    assert [words.piece(token) for token in range(3)] == [b" hello", b"\n", "ü".encode()]


def test_byte_level_spells_every_byte(vocabulary):
    """Each of the 256 letters is one byte; half a character has its bytes, too."""
    letters = {
        **{chr(byte): byte for byte in range(0x21, 0x7F)},
        **{chr(byte): byte for byte in [*range(0xA1, 0xAD), *range(0xAE, 0x100)]},
        **{chr(0x100 + byte): byte for byte in range(0x21)},
        **{chr(0x121 + place): 0x7F + place for place in range(0x22)},
        chr(0x143): 0xAD,
    }
    assert sorted(letters.values()) == list(range(256))
    words = vocabulary(letters, decoder=BYTE_LEVEL)
    assert [words.piece(byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]


def test_byte_level_word_with_a_letter_of_no_byte(vocabulary):
    """A letter outside of the 256 is spelled as it is, and the word goes on after it."""
    assert vocabulary({"Ġ日Ġ": 0, "▁": 1}, decoder=BYTE_LEVEL).piece(0) == " 日 ".encode()


def test_byte_level_takes_no_byte_token_for_a_byte(vocabulary):
    """In a byte-level vocabulary `<0x41>` is six characters, and the word mark is a letter."""
    words = vocabulary({"<0x41>": 0, "▁a": 1}, decoder=BYTE_LEVEL)
    assert [words.piece(0), words.piece(1)] == [b"<0x41>", "▁a".encode()]


def test_sentence_piece(vocabulary):
    """The word mark is a space, and `<0xAB>` is a byte, in either case."""
    words = vocabulary(
        {"▁hello": 0, "▁": 1, "▁▁a▁": 2, "<0xAB>": 3, "<0xc3>": 4, "<0x0A>": 5, "ü": 6, "Ġ": 7},
        decoder=SENTENCE_PIECE,
    )
    assert [words.piece(token) for token in range(8)] == [
        b" hello",
        b" ",
        b"  a ",
        b"\xab",
        b"\xc3",
        b"\n",
        "ü".encode(),
        "Ġ".encode(),
    ]


@pytest.mark.parametrize("word", ["<0xAB", "0xAB>", "<0xABC>", "<0xG0>", "a<0xAB>", "<0xAB>\n"])
def test_what_only_looks_like_a_byte(vocabulary, word):
    """A word that holds more or less than a byte's name is spelled as it is."""
    assert vocabulary({word: 0}, decoder=SENTENCE_PIECE).piece(0) == word.encode()


def test_unigram_list(vocabulary):
    """In a list of words with their scores, the place is the id."""
    words = vocabulary(
        [["<unk>", 0.0], ["▁the", -3.25], ["<0x00>", -5], ["s", -1e30]], decoder=SENTENCE_PIECE
    )
    assert [words.piece(token) for token in range(5)] == [b"<unk>", b" the", b"\0", b"s", b""]
    assert words.null == 2


def test_added_tokens_are_spelled_as_they_are(vocabulary):
    """An added token is plain text, in a vocabulary of whatever kind, and wins over a word."""
    tokens = [added(0, "<|im_end|>", special=True), added(9, "Ġ ü▁<0x41>")]
    for parts in ({"decoder": BYTE_LEVEL}, {"decoder": SENTENCE_PIECE}, {}):
        words = vocabulary({"word": 0, "other": 1}, added_tokens=tokens, **parts)
        assert words.piece(0) == b"<|im_end|>"
        assert words.piece(9) == "Ġ ü▁<0x41>".encode()
        assert words.piece(1) == b"other"


def test_special_tokens_are_those_that_say_so(vocabulary):
    """Added tokens that are text, and those that do not say, are not among them."""
    tokens = [
        added(0, "<s>", special=True),
        added(1, "<think>"),
        {"id": 2, "content": "<untold>"},
        added(3, "</s>", special=True),
    ]
    assert vocabulary(added_tokens=tokens).special == ["<s>", "</s>"]
    assert vocabulary().special == []


@pytest.mark.parametrize("token", [2, 5, 9, -1, 2**31, 2**70])
def test_unknown_token_stands_for_nothing(vocabulary, token):
    """An id in a gap, behind the end or before the start is empty, as often as one asks."""
    words = vocabulary({"a": 0, "b": 1, "c": 6}, decoder=BYTE_LEVEL, added_tokens=[added(7, "<s>")])
    assert [words.piece(token), words.piece(token)] == [b"", b""]


def test_piece_twice(vocabulary):
    """A token that was spelled before is spelled the same."""
    words = vocabulary({"Ġa": 0}, decoder=BYTE_LEVEL, added_tokens=[added(1, "<s>")])
    assert [words.piece(token) for token in (0, 1, 0, 1)] == [b" a", b"<s>", b" a", b"<s>"]


def test_empty_word(vocabulary):
    """A token of no letters has no bytes."""
    assert vocabulary({"": 0}).piece(0) == b""
    assert vocabulary({"": 0}, decoder=BYTE_LEVEL).piece(0) == b""


@pytest.mark.parametrize(
    ("vocab", "parts", "null"),
    [
        ({"a": 0, "Ā": 4}, {"decoder": BYTE_LEVEL}, 4),
        ({"Ā": 0}, {"decoder": BYTE_LEVEL}, 0),
        ({"a": 0, "<0x00>": 4}, {"decoder": BYTE_LEVEL}, None),
        ({"a": 0, "<0x00>": 4}, {"decoder": SENTENCE_PIECE}, 4),
        ({"a": 0, "Ā": 4}, {"decoder": SENTENCE_PIECE}, None),
        ({"a": 0}, {}, None),
        ([["<0x00>", 0.0]], {}, 0),
        ([], {}, None),
    ],
)
def test_token_of_a_null_character(vocabulary, vocab, parts, null):
    """It is spelled by the kind of the vocabulary, and need not be there."""
    words = vocabulary(vocab, **parts)
    assert words.null == null
    if null is not None:
        assert words.piece(null) == b"\0"


def test_embedded_model():
    """The bytes of the vocabulary that ships with the plugin are all there."""
    words = OnnxVocabulary(OnnxBackend().embedded())
    pieces = {words.piece(token) for token in range(2000)}
    assert {bytes([byte]) for byte in range(256)} <= pieces
    assert {b"<|im_start|>", b"<|im_end|>", b"<think>", b"</tool_call>"} <= pieces
    assert "<|im_end|>" in words.special
    assert words.piece(words.null) == b"\0"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\0" * 50,
        b"[" * 100_000,
        b'{"model": {"vocab": {}}, "decoder": ' + b'{"decoders": [' * 100_000,
        b'{"model": {"vocab": {}}, "normalizer": ' + b"[" * 100_000,
        b'{"added_tokens": []}',
        b'{"model": null}',
        b'{"model": {}}',
        b'{"model": {"vocab": null}}',
        b'{"model": {"vocab": "abc"}}',
        b'{"model": {"vocab": {"a": "0"}}}',
        b'{"model": {"vocab": {"a": 0.5}}}',
        b'{"model": {"vocab": {"a": null}}}',
        b'{"model": {"vocab": ["a", "b"]}}',
        b'{"model": {"vocab": [["a"]]}}',
        b'{"model": {"vocab": [["a", 0.0, 1]]}}',
        b'{"model": {"vocab": [[0, "a"]]}}',
        b'{"model": {"vocab": {}}, "added_tokens": {}}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"content": "a"}]}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"id": "1", "content": "a"}]}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"id": 1, "content": null}]}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"id": 1, "content": "", "special": "no"}]}',
    ],
)
def test_damaged_file_is_refused(vocabulary, data):
    """What cannot be read, or is of other types, is refused by the file's name."""
    with pytest.raises(ModelFileInvalid, match=r"^tokenizer\.json: it cannot be read: ."):
        vocabulary(data=data)


def test_every_prefix_of_a_file_is_refused(vocabulary):
    """Wherever a download stops, the file is damaged, and never a crash."""
    whole = json.dumps(
        {
            "added_tokens": [added(1, "<s>")],
            "decoder": SENTENCE_PIECE,
            "model": {"vocab": {"▁a": 0}},
        },
        ensure_ascii=False,
    ).encode()
    assert vocabulary(data=whole).piece(0) == b" a"
    for length in range(len(whole)):
        with pytest.raises(ModelFileInvalid, match=r"tokenizer\.json"):
            vocabulary(data=whole[:length])


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path, kind):
    """A folder without a tokenizer.json gets an error that names it."""
    if kind == "folder":
        (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(ModelFileInvalid, match=r"^tokenizer\.json: it cannot be read"):
        OnnxVocabulary(tmp_path)


@pytest.mark.parametrize("part", ["ByteLevel", 3, [], [BYTE_LEVEL], {}, {"type": None}])
def test_part_of_an_unknown_shape_says_nothing(vocabulary, part):
    """A decoder or pre-tokenizer that is no object with a type makes no byte-level vocabulary."""
    assert vocabulary({"▁a": 0}, decoder=part, pre_tokenizer=part).piece(0) == b" a"


@pytest.mark.parametrize(
    "data",
    [
        b'{"model": {"vocab": {"\xff": 0}}}',
        b'{"model": {"vocab": {}}, "decoder": {"type": "\xff"}}',
        b'{"model": {"vocab": {}}, "added_tokens": [{"id": 1, "content": "\xff"}]}',
    ],
)
def test_text_that_is_not_utf_8(vocabulary, data):
    """A text that is not UTF-8 is refused by the file's name."""
    with pytest.raises(ModelFileInvalid, match=r"^tokenizer\.json: it cannot be read"):
        vocabulary(data=data)


@pytest.mark.parametrize(
    "part", [{"decoders": 5}, {"pretokenizers": True}, {"decoders": "abc"}, {"decoders": [[5]]}]
)
def test_sequence_of_an_unknown_shape(vocabulary, part):
    """A sequence that is no list says nothing."""
    assert vocabulary({"▁a": 0}, decoder=part, pre_tokenizer=part).piece(0) == b" a"


@pytest.mark.parametrize("depth", [100, 330, 400, 490])
def test_deep_sequence(vocabulary, depth):
    """A sequence in a sequence is read or refused, however deep it goes."""
    data = b'{"model": {"vocab": {}}, "decoder": ' + b'{"decoders": [' * depth + b"]}" * depth
    with contextlib.suppress(ModelFileInvalid):
        vocabulary(data=data + b"}")

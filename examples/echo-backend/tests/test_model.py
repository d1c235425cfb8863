"""The parts that are this backend's own; the suite examines the rest."""

import pytest

from pilotlight_backend import ModelFileInvalid
from pilotlight_echo.backend import EchoBackend
from pilotlight_echo.model import Cache, Model
from pilotlight_echo.tokenizer import END, PIECES, encode


def answer(text, tokens=64):
    """Return what the model goes on with behind *text*, up to its end."""
    cache, model, said = Cache(), Model(confidence=16), b""
    cache.evaluate(encode(text, special=True))
    for _ in range(tokens):
        token = int(model.logits(cache).argmax())
        if token == END:
            break
        said += PIECES[token]
        cache.evaluate([token])
    return said.decode()


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<|user|>hello<|end|><|assistant|>", "hello"),
        ("<|user|>aaaa<|end|><|assistant|>", "aaaa"),
        ("<|system|>be brief<|end|><|user|>ü🦙<|end|><|assistant|>", "ü🦙"),
        ("<|user|>a<|end|><|assistant|>a<|end|><|user|>b<|end|><|assistant|>", "b"),
        ("<|user|>hello<|end|><|assistant|>hel", "lo"),
        ("<|user|><|end|><|assistant|>", ""),
    ],
)
def test_the_last_turn_is_repeated(prompt, expected):
    assert answer(prompt) == expected


def test_a_text_without_turns_is_repeated_from_its_start():
    assert answer("over and ", tokens=18) == "over and over and "


def test_what_a_guide_chose_does_not_count_as_repeated():
    assert answer('<|user|>Paris<|end|><|assistant|>{"city": "') == "Paris"


def test_what_was_evaluated_can_be_cut_back_and_copied():
    prompt = encode("<|user|>hello<|end|><|assistant|>hex", special=True)
    whole, copy, cut = Cache(), Cache(), Cache()
    whole.evaluate(prompt)
    copy.copy(whole, len(prompt) - 1)
    cut.evaluate(prompt)
    cut.copy(cut, len(prompt) - 1)
    assert copy.tokens == cut.tokens == prompt[:-1]
    assert copy.expected() == cut.expected() == ord("l")
    copy.evaluate(b"l")
    assert (copy.expected(), whole.expected()) == (ord("l"), ord("l"))
    assert whole.tokens == prompt


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "truncated"),
        ("[]", "expected an object, got an array"),
        ('{"format": "echo-2", "name": "x"}', "format: invalid value 'echo-2'"),
        ('{"format": "echo-1"}', "name: this field is required"),
        (
            '{"format": "echo-1", "name": "x", "contxt_length": 5}',
            "contxt_length: there is no such field",
        ),
        (
            '{"format": "echo-1", "name": "x", "context_length": 0}',
            "context_length: expected an integer of at least 1",
        ),
        (b'{"format": "echo-1", "name": "\xff"}', "utf-8"),
    ],
)
def test_a_damaged_file_is_invalid_and_says_why(tmp_path, content, reason):
    path = tmp_path / "bad.echo"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelFileInvalid, match=r"bad\.echo: ") as caught:
        EchoBackend().probe(path)
    assert reason.lower() in str(caught.value).lower()

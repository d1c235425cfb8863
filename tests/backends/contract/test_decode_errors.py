"""Decode errors in our words, each provoked from msgspec itself."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from pilotlight_backend import decode_errors


class Item(Struct, forbid_unknown_fields=True):
    """An item of a list, by its tag."""

    kind: Literal["a", "b"]
    size: Annotated[int, Meta(ge=1, le=2**62)] | None = None


class Cat(Struct, tag="cat", forbid_unknown_fields=True):
    """One of a tagged union."""


class Dog(Struct, tag="dog", forbid_unknown_fields=True):
    """The other."""


class Body(Struct, forbid_unknown_fields=True):
    """What is decoded; each field fails in its own way."""

    items: Annotated[list[Item], Meta(min_length=1, max_length=2)] = []
    heat: Annotated[float, Meta(ge=0, le=2)] = 0.0
    above: Annotated[float, Meta(gt=0.5)] = 1.0
    name: Annotated[str, Meta(min_length=1, max_length=3)] = "x"
    word: Annotated[str, Meta(pattern=r"^\S+$")] = "x"
    text: str | list[str] | None = None
    flag: bool = False
    bias: dict[Annotated[str, Meta(pattern="^[0-9]+$")], Annotated[float, Meta(le=1)]] = {}
    extra: Annotated[dict[str, int], Meta(max_length=1)] = {}
    pet: Cat | Dog | None = None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"flag": 1}, "flag: expected a boolean, got an integer"),
        ({"heat": "hot"}, "heat: expected a number, got a string"),
        ({"text": 7}, "text: expected a string or an array, got an integer"),
        ({"text": [None]}, "text[0]: expected a string, got null"),
        ({"heat": 2.5}, "heat: expected a number of at most 2"),
        ({"heat": -1}, "heat: expected a number of at least 0"),
        ({"above": 0.5}, "above: expected a number greater than 0.5"),
        ({"items": []}, "items: expected an array of at least 1 item"),
        ({"items": [{"kind": "a"}] * 3}, "items: expected an array of at most 2 items"),
        ({"items": [{}]}, "items[0].kind: this field is required"),
        ({"items": [{"kind": "a", "x": 1}]}, "items[0].x: there is no such field"),
        ({"items": [{"kind": "c"}]}, "items[0].kind: invalid value 'c'"),
        ({"items": [{"kind": 7}]}, "items[0].kind: expected a string, got an integer"),
        (
            {"items": [{"kind": "a"}, {"kind": "b", "size": 0}]},
            "items[1].size: expected an integer of at least 1",
        ),
        (
            {"items": [{"kind": "a", "size": 2**62 + 1}]},
            "items[0].size: expected an integer of at most 4611686018427387904",
        ),
        ({"name": ""}, "name: expected a string of at least 1 character"),
        ({"name": "long"}, "name: expected a string of at most 3 characters"),
        ({"word": "a b"}, r"word: expected a string that matches '^\S+$'"),
        ({"bias": {"x": 1}}, "bias: a key: expected a string that matches '^[0-9]+$'"),
        ({"bias": {"7": 2}}, "bias[...]: expected a number of at most 1"),
        ({"extra": {"a": 1, "b": 2}}, "extra: expected an object of at most 1 property"),
        ({"pet": {"type": "cow"}}, "pet.type: invalid value 'cow'"),
        ({"pet": {}}, "pet.type: this field is required"),
        ([], "expected an object, got an array"),
        (None, "expected an object, got null"),
    ],
)
def test_a_validation_error_names_path_fault_and_remedy(body, message):
    """The words are ours alone: none of msgspec's type names, no `$`."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=Body)
    assert decode_errors.describe(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON: input data was truncated"),
        (b'{"name": "a",}', "not valid JSON: trailing comma in object (byte 13)"),
        (b'{"name": "\xff"}', "not valid JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_text_that_is_not_json(text, message):
    """The position of the fault is kept where msgspec has one."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)) as caught:
        msgspec.json.decode(text)
    assert decode_errors.describe(caught.value).startswith(message)


def test_an_error_of_a_nested_decoder_has_both_paths():
    """A `dec_hook` that decodes an item raises with the path in it; msgspec adds the item's own."""

    class Opaque:
        pass

    class Outer(Struct):
        tools: list[Opaque]

    def hook(_: type[object], value: object) -> object:
        try:
            return msgspec.convert(value, Item)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"tools": [{"kind": "a", "size": "1"}]}', type=Outer, dec_hook=hook)
    reason, path = decode_errors.split(str(caught.value))
    assert (reason, path) == ("expected an integer, got a string", "tools[0].size")


def test_another_error_keeps_its_words():
    """A file that cannot be read is not a decode error."""
    assert decode_errors.describe(FileNotFoundError(2, "No such file")) == "[Errno 2] No such file"

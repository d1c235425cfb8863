"""API keys: how they are written down, and whose a presented one is."""

import hashlib

import pytest

from pilotlight.access import keys as module
from pilotlight.access.keys import (
    ApiKey,
    InvalidKeys,
    name_of,
    presented,
    read_entries,
    read_file,
)

HASH = hashlib.sha256(b"s3cret").hexdigest()
LONG = "n" * 64


def names(keys):
    return [key.name for key in keys]


def test_a_file_has_a_key_a_line():
    """In the clear or hashed; blank lines and comments are passed over."""
    keys = read_file(f"# team\n\nann:one\n  bob : two \r\n\t# more\nci:sha256:{HASH}\n")

    assert names(keys) == ["ann", "bob", "ci"]
    assert [name_of(key, keys) for key in (b"one", b"two", b"s3cret")] == ["ann", "bob", "ci"]


@pytest.mark.parametrize(
    ("line", "name", "key"),
    [
        ("a:b:c", "a", b"b:c"),
        ("a:#b", "a", b"#b"),
        ("a:sha256", "a", b"sha256"),
        ("ann@example.org:k", "ann@example.org", b"k"),
        ("9.a_b-c:k", "9.a_b-c", b"k"),
        (f"{LONG}:k", LONG, b"k"),
        (f"a:sha256:{HASH.upper()}", "a", b"s3cret"),
        ("a:!~,;=\"'", "a", b"!~,;=\"'"),
    ],
)
def test_a_line_is_split_at_its_first_colon(line, name, key):
    """A key is whatever a header can carry."""
    assert name_of(key, read_file(line)) == name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("s3cret", "expected name:key or name:sha256:HEX"),
        (f"sha256:{HASH}", "expected name:key or name:sha256:HEX"),
        (":s3cret", "expected a name of up to 64"),
        ("-x:s3cret", "expected a name of up to 64"),
        ("a name:s3cret", "expected a name of up to 64"),
        ("é:s3cret", "expected a name of up to 64"),
        (f"{LONG}n:s3cret", "expected a name of up to 64"),
        ("ann:", "expected a key of visible ASCII"),
        ("ann:s3cret s3cret", "expected a key of visible ASCII"),
        ("ann:s3crét", "expected a key of visible ASCII"),
        ("ann:s3cret\0", "expected a key of visible ASCII"),
        ("ann:sha256:", "expected 64 hexadecimal digits after sha256:"),
        ("ann:sha256:s3cret", "expected 64 hexadecimal digits after sha256:"),
        (f"ann:sha256:{HASH}0", "expected 64 hexadecimal digits after sha256:"),
        (f"ann:sha256: {HASH}", "expected 64 hexadecimal digits after sha256:"),
        ("one:s3cret", "its name is already used in line 2"),
        ("two:first", "its key is already used in line 2"),
        (f"two:sha256:{hashlib.sha256(b'first').hexdigest()}", "its key is already used in line 2"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(line, reason):
    """The error quotes nothing of the line: mistyped, its key can be anywhere in it."""
    with pytest.raises(InvalidKeys) as refused:
        read_file(f"# keys\none:first\n\n{line}\n")

    message = str(refused.value)
    assert message.startswith(f"line 4: {reason}")
    assert "s3c" not in message
    assert HASH not in message


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody\n"])
def test_a_file_without_a_key_is_refused(text):
    """A user who names a file wants a closed server."""
    with pytest.raises(InvalidKeys, match="it contains no key"):
        read_file(text)


def test_a_file_repeats_no_key_from_elsewhere():
    """Neither a name nor a key of `api_keys`."""
    beside = read_entries("ann:one")
    with pytest.raises(InvalidKeys, match="line 1: its name is already used in api_keys"):
        read_file("ann:two", beside)
    with pytest.raises(InvalidKeys, match="line 1: its key is already used in api_keys"):
        read_file("bob:one", beside)
    assert names(read_file("bob:two", beside)) == ["bob"]


def test_entries_may_have_no_name():
    """Such a key is called by its place in the list."""
    keys = read_entries(f" one, ann:two,, three ,sha256:{HASH},")

    assert names(keys) == ["key-1", "ann", "key-4", "key-5"]
    assert name_of(b"three", keys) == "key-4"
    assert name_of(b"s3cret", keys) == "key-5"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (",", "it contains no key"),
        ("one,é:s3cret", "entry 2: expected a name of up to 64"),
        ("one,s3c ret", "entry 2: expected a key of visible ASCII"),
        ("one,sha256:s3cret", "entry 2: expected 64 hexadecimal digits"),
        ("one,one", "entry 2: its key is already used in entry 1"),
        ("key-2:one,two", "entry 2: its name is already used in entry 1"),
    ],
)
def test_a_bad_entry_is_refused_by_its_number(text, reason):
    """As in the file."""
    with pytest.raises(InvalidKeys) as refused:
        read_entries(text)
    assert str(refused.value).startswith(reason)
    assert "s3c" not in str(refused.value)


@pytest.mark.parametrize(
    "other", [b"", b"On", b"One", b"one ", b"ones", b"ann", b"\xff", HASH.encode()]
)
def test_another_key_is_nobodys(other):
    """Nor is the hash of one a key."""
    assert name_of(other, read_file(f"ann:one\nci:sha256:{HASH}")) is None


@pytest.mark.parametrize("key", [b"one", b"two", b"three", b"none"])
def test_every_key_is_compared_in_constant_time(monkeypatch, key):
    """Also behind the one that fits, and none by `==`."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    keys = read_file("ann:one\nbob:two\nci:three")
    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    name_of(key, keys)
    assert compared == [key.digest for key in keys]


def test_a_key_does_not_show_itself():
    """Neither its text, which is not kept, nor its digest."""
    (key,) = read_file("ann:one")
    assert repr(key) == "ApiKey('ann')"
    assert key == ApiKey("ann", hashlib.sha256(b"one").digest())


@pytest.mark.parametrize(
    ("headers", "keys"),
    [
        ([], []),
        ([(b"authorization", b"Bearer one")], [b"one"]),
        ([(b"authorization", b"bEaReR   one ")], [b"one"]),
        ([(b"authorization", b"Bearer \xff")], [b"\xff"]),
        ([(b"x-api-key", b" one ")], [b"one"]),
        ([(b"authorization", b"Bearer one"), (b"x-api-key", b"one")], [b"one"]),
        ([(b"authorization", b"Bearer one"), (b"x-api-key", b"two")], [b"one", b"two"]),
        ([(b"authorization", b"Bearer one"), (b"authorization", b"Bearer two")], [b"one", b"two"]),
        ([(b"authorization", b"Basic b25l"), (b"x-api-key", b"one")], [b"one"]),
        ([(b"authorization", b"Bearer"), (b"x-api-key", b"")], []),
        ([(b"authorization", b"one")], []),
        ([(b"authorization", b"Bearerone")], []),
        ([(b"api-key", b"one"), (b"cookie", b"x-api-key=one")], []),
    ],
)
def test_where_a_request_presents_its_key(headers, keys):
    """Behind the scheme `Bearer`, or in `x-api-key`; an empty one is none."""
    assert presented(headers) == frozenset(keys)

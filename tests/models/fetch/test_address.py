"""Addresses: what they say, what they hide, where they lead."""

from pathlib import Path

import pytest

from pilotlight.config import ConfigError
from pilotlight.models.fetch.address import is_address, parse_address, place

SHA256 = "a" * 64


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("https://host/m.gguf", True),
        (" hf://owner/repo ", True),
        ("ftp://host/m", True),
        ("weights/m.gguf", False),
        ("/weights/m.gguf", False),
        ("~/weights/m.gguf", False),
        ("C:/weights/m.gguf", False),
    ],
)
def test_is_address(text, yes):
    """What has a scheme is an address, known or not; everything else is a path."""
    assert is_address(text) is yes


@pytest.mark.parametrize(
    ("text", "name", "model"),
    [
        ("https://host/a/m.gguf", "m.gguf", "m.gguf"),
        ("https://host/a/m%20x.gguf?download=true", "m x.gguf", "m x.gguf"),
        ("https://host/download", "download", "download"),
        ("hf://owner/repo/m.gguf", "m.gguf", "m.gguf"),
        ("hf://owner/repo@v1/sub/m.gguf", "m.gguf", "m.gguf"),
        ("hf://owner/repo", "repo", "repo"),
        ("hf://owner/qwen2.5-0.5b@main", "qwen2.5-0.5b", "qwen2.5-0.5b"),
        ("hf://owner/repo/cpu-int4/", "cpu-int4", "cpu-int4"),
        ("s3://bucket/folder.onnx/", "folder.onnx", "folder.onnx"),
        ("gs://bucket/a/m.gguf", "m.gguf", "m.gguf"),
        ("hf://owner/repo/m-00002-of-00003.gguf", "m", "m/m-00001-of-00003.gguf"),
    ],
)
def test_place(text, name, model):
    """A file keeps its name, a folder too; the parts of a split file share a folder."""
    there = place(parse_address(text), Path("/models"))
    assert (there.root, there.model) == (Path("/models", name), Path("/models", model))


@pytest.mark.parametrize(
    ("text", "name", "root"),
    [
        ("https://host/m.gguf", "mine", "mine.gguf"),
        ("https://host/m.gguf", "mine.gguf", "mine.gguf"),
        ("https://host/m.gguf", "org/mine", "org--mine.gguf"),
        ("hf://owner/repo", "mine", "mine"),
        ("hf://owner/repo/m-00001-of-00002.gguf", "mine", "mine"),
    ],
)
def test_place_by_name(text, name, root):
    """A name replaces the file's, before the suffix."""
    assert place(parse_address(text), Path("/models"), name).root == Path("/models", root)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a\nb", "x" * 200])
def test_name_that_can_be_no_file(name):
    """It is refused before anything is fetched."""
    with pytest.raises(ConfigError, match="name"):
        place(parse_address("https://host/m.gguf"), Path("/models"), name)


def test_no_home_folder():
    """A `~` that names no folder is never made one."""
    with pytest.raises(ConfigError, match="set --models-dir"):
        place(parse_address("https://host/m.gguf"), Path("~/.core/models"))


def test_parts():
    """Each part of a split file has its own address; what follows the name stays."""
    address = parse_address("https://host/a-00001-of-00002.gguf/m-00002-of-00002.gguf?x=1")
    assert address.parts() == [
        "https://host/a-00001-of-00002.gguf/m-00001-of-00002.gguf?x=1",
        "https://host/a-00001-of-00002.gguf/m-00002-of-00002.gguf?x=1",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host:8/m.gguf?X-Signature=secret", "https://host:8/m.gguf"),
        ("https://me:pass-word@host/m.gguf", "https://host/m.gguf"),
        (f"hf://owner/repo@v1/m.gguf#sha256={SHA256}", "hf://owner/repo@v1/m.gguf"),
    ],
)
def test_secrets_are_not_shown(text, shown):
    """Credentials and the query are left out."""
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize(
    ("text", "sha256"),
    [
        (f"https://host/m.gguf#sha256={SHA256.upper()}", None),
        ("https://host/m.gguf", f" {SHA256}\n"),
        (f"https://host/m.gguf#sha256={SHA256}", SHA256),
    ],
)
def test_sha256(text, sha256):
    """It stands after the address or beside it, in either case."""
    assert parse_address(text, sha256).sha256 == SHA256


@pytest.mark.parametrize(
    ("text", "sha256", "reason"),
    [
        ("ftp://host/m.gguf", None, "ftp:// is not supported; expected an address: https://"),
        ("file:///m.gguf", None, "expected an address: https://"),
        ("m.gguf", None, "got a path; expected an address: https://"),
        ("", None, "expected an address: https://"),
        ("https://host:port/m.gguf", None, "invalid host or port"),
        ("https://[::1/m.gguf", None, "invalid host or port"),
        ("https:///m.gguf", None, "the host is missing"),
        ("https://host/", None, "it names no file"),
        ("https://host", None, "it names no file"),
        ("https://host/folder/", None, "it names no file"),
        ("http://example.org/m.gguf", None, "http:// is allowed for this machine only"),
        ("https://host/a b.gguf", None, "a space or a control character"),
        ("hf://repo", None, "it names no repository"),
        ("s3://bucket", None, "it names no key"),
        ("s3://bucket//m.gguf", None, "is empty, . or .."),
        ("hf://owner/repo/../m.gguf", None, "is empty, . or .."),
        ("hf://owner/repo/*.gguf", None, "patterns are not supported"),
        ("hf://owner/repo/m-00004-of-00003.gguf", None, "there is no part 00004"),
        ("hf://owner/repo/m-00000-of-00003.gguf", None, "there is no part 00000"),
        ("hf://owner/repo/m-00001-of-00003.gguf", SHA256, "several files"),
        ("https://host/m.gguf#part", None, "must be #sha256=HEX"),
        ("https://host/m.gguf#sha256=", None, "64 hexadecimal digits"),
        ("https://host/m.gguf", "abc", "64 hexadecimal digits"),
        (f"https://host/m.gguf#sha256={SHA256}", "b" * 64, "differs from the one given"),
    ],
)
def test_bad_addresses(text, sha256, reason):
    """Each is refused with its reason."""
    with pytest.raises(ConfigError, match=reason):
        parse_address(text, sha256)


def test_refusals_show_no_secret():
    """Neither."""
    with pytest.raises(ConfigError) as caught:
        parse_address("https://me:pass-word@host/?X-Signature=secret")
    assert "secret" not in str(caught.value)
    assert "pass-word" not in str(caught.value)

"""What lies in a models folder, and the files beside it: nobody vouches for any of it."""

import itertools
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hypothesis import strategies as st

import pilotlight_llama_cpp
import pilotlight_onnx
from pilotlight.access.key_file import KeyFile
from pilotlight.access.keys import InvalidKeys, read_entries
from pilotlight.config import ConfigError
from pilotlight.models.fetch import spans
from pilotlight.models.fetch.address import parse_address, place
from pilotlight.models.models_file import read_models_file
from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_llama_cpp import probe as gguf_probe
from pilotlight_onnx import probe as onnx_probe
from pilotlight_onnx.onnx_file import check_whole
from pilotlight_onnx.vocabulary import OnnxVocabulary
from tests.fuzz.case import bounded, case
from tests.fuzz.strategies import altered, damaged, json_values, text_of

SPARK_GGUF = Path(pilotlight_llama_cpp.__file__).parent / "spark.gguf"
SPARK_ONNX = Path(pilotlight_onnx.__file__).parent / "spark"


@contextmanager
def file_of(content: bytes, name: str = "m.gguf", *, size: int = 0) -> Iterator[Path]:
    """Write *content* into a file, with a hole behind it up to *size*, for as long as it lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        if size > len(content):
            os.truncate(path, size)
        yield path


# ── GGUF ────────────────────────────────────────────────────────────────────────────────────────

_SPARK = SPARK_GGUF.read_bytes()
_SPARK_HEADER = _SPARK[: _SPARK.rindex(b"output_norm.weight") + 4096]
_KEYS = (
    *("general.architecture", "general.type", "general.name", "general.alignment"),
    *("split.no", "split.count", "llama.context_length", "llama.block_count", "clip.x"),
    *("llama.attention.head_count", "llama.attention.head_count_kv", "llama.pooling_type"),
    *("llama.embedding_length", "llama.attention.key_length", "llama.attention.kv_lora_rank"),
    *("tokenizer.ggml.tokens", "tokenizer.ggml.bos_token_id", "tokenizer.chat_template"),
)
_FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_counts = st.integers(0, 3) | st.integers(2**31, 2**64 - 1) | st.sampled_from((4096, 65536))


def _text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


@st.composite
def _number(draw: st.DrawFn, kind: int) -> bytes:
    size = struct.calcsize(f"<{_FORMATS[kind]}")
    small = draw(st.integers(0, 127))
    return draw(st.sampled_from((small.to_bytes(size, "little"), draw(st.binary(min_size=size)))))[
        :size
    ]


@st.composite
def _value(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from((*_FORMATS, 8, 8, 9, 9, 13)))
    data = struct.pack("<I", kind)
    words = st.sampled_from(("llama", "model", "bert", "clip", "", "é")) | st.binary(max_size=9)
    if kind == 8:
        return data + _text(draw(words))
    if kind == 9:
        inner = draw(st.sampled_from((4, 5, 6, 8, 9, 99)))
        values = [draw(words) for _ in range(draw(st.integers(0, 3)))]
        body = b"".join(_text(one) for one in values) if inner == 8 else draw(st.binary())
        return data + struct.pack("<IQ", inner, draw(st.just(len(values)) | _counts)) + body
    return data + (draw(_number(kind)) if kind in _FORMATS else draw(st.binary()))


@st.composite
def _tensor(draw: st.DrawFn) -> bytes:
    shape = draw(st.lists(_counts, max_size=4))
    layout = struct.pack(f"<{len(shape)}QIQ", *shape, draw(st.integers(0, 40)), draw(_counts))
    return _text("w") + struct.pack("<I", draw(st.just(len(shape)) | st.integers(0, 9))) + layout


@st.composite
def _headers(draw: st.DrawFn) -> bytes:
    architecture = {"general.architecture": struct.pack("<I", 8) + _text("llama")}
    length = {"llama.context_length": struct.pack("<II", 4, 2048)}
    keys = architecture | length
    keys |= draw(st.dictionaries(st.sampled_from(_KEYS), _value(), max_size=6))
    tensors = draw(st.lists(_tensor(), max_size=2))
    counts = draw(st.just((len(tensors), len(keys))) | st.tuples(_counts, _counts))
    pairs = b"".join(_text(key) + value for key, value in keys.items())
    version = draw(st.sampled_from((2, 3, 3, 3, 1, 3 << 24)))
    return b"GGUF" + struct.pack("<IQQ", version, *counts) + pairs + b"".join(tensors)


def _is_sane(facts: ModelFacts) -> None:
    assert facts.context_length > 0
    assert facts.size_bytes >= 0
    assert facts.kv_bytes_per_token >= 0
    texts = (facts.architecture, facts.name, facts.chat_template, facts.bos_token, facts.eos_token)
    assert all(text is None or text.encode() is not None for text in texts)


@case(
    "GGUF header",
    short=50,
    content=st.one_of(
        st.binary().map(lambda rest: b"GGUF\3\0\0\0" + rest),
        damaged(_SPARK_HEADER, first=2048),
        _headers(),
    ),
    size=st.sampled_from((0, len(_SPARK), 1 << 24)),
    name=st.sampled_from(("m.gguf", "m-00001-of-00002.gguf", "m-00001-of-99999.gguf")),
)
def gguf_header(content: bytes, size: int, name: str) -> None:
    """Facts, none, or `ModelFileInvalid`; what a header announces costs nothing before it is so."""
    with file_of(content, name, size=size) as path, bounded(seconds=5, mebibytes=32):
        try:
            facts = gguf_probe.probe(path)
        except ModelFileInvalid as error:
            assert str(error).startswith("m")  # the name of a file
            return
        if facts is not None:
            _is_sane(facts)


# ── ONNX ────────────────────────────────────────────────────────────────────────────────────────

_CONFIGS = {
    name: json.loads((SPARK_ONNX / name).read_bytes())
    for name in ("genai_config.json", "tokenizer_config.json")
}
_TOKENIZER: dict[str, Any] = {
    "added_tokens": [{"id": 1, "content": "<s>", "special": True}],
    "model": {"vocab": {"Ġa": 0, "<0x0A>": 2, "▁b": 3}},
    "decoder": {"type": "Sequence", "decoders": [{"type": "ByteLevel"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]},
}


def _file(*wholes: Any) -> st.SearchStrategy[bytes]:
    """Return the bytes of a JSON file: one of *wholes*, or what is near it."""
    return st.one_of(
        st.sampled_from(wholes).map(msgspec.json.encode),
        altered(wholes).map(lambda value: json.dumps(value).encode()),
        json_values.map(lambda value: json.dumps(value).encode()),
        damaged(json.dumps(wholes[0]).encode()),
        st.just(b"[" * 100_000),
    )


@case(
    "ONNX folder",
    short=50,
    config=_file(_CONFIGS["genai_config.json"]),
    tokenizer_config=_file(_CONFIGS["tokenizer_config.json"]),
    template=st.none() | st.binary(),
)
def onnx_folder(config: bytes, tokenizer_config: bytes, template: bytes | None) -> None:
    """Facts or `ModelFileInvalid`, whatever the folder's small files say."""
    with file_of(config, onnx_probe.CONFIG) as path, bounded(mebibytes=32):
        folder = path.parent
        (folder / "tokenizer_config.json").write_bytes(tokenizer_config)
        (folder / "tokenizer.json").write_bytes(b"{}")
        (folder / "model.onnx").write_bytes(b"\x08\x07")
        if template is not None:
            (folder / "chat_template.jinja").write_bytes(template)
        with suppress(ModelFileInvalid):
            facts = onnx_probe.probe(folder)
            assert facts is not None
            _is_sane(facts)


@case("ONNX tokenizer.json", content=_file(_TOKENIZER))
def onnx_vocabulary(content: bytes) -> None:
    """A vocabulary whose tokens all have their bytes, or `ModelFileInvalid`."""
    with (
        file_of(content, "tokenizer.json") as path,
        bounded(mebibytes=32),
        suppress(ModelFileInvalid),
    ):
        vocabulary = OnnxVocabulary(path.parent)
        for token in (-1, *range(8), 2**70):
            assert isinstance(vocabulary.piece(token), bytes)


@case("ONNX graph", content=st.binary() | damaged((SPARK_ONNX / "model.onnx").read_bytes()[:4096]))
def onnx_graph(content: bytes) -> None:
    """Whole or `ModelFileInvalid`."""
    with (
        file_of(content, "model.onnx") as path,
        bounded(mebibytes=32),
        suppress(ModelFileInvalid),
    ):
        check_whole(path)


# ── models.yaml ─────────────────────────────────────────────────────────────────────────────────

_MODELS: list[Any] = [
    {"a": "a.gguf", "models": {"b": {"path": "b.gguf", "parallel": 2, "gpu_layers": -1}}},
    {"c": {"path": "hf://owner/repo@main/q.gguf", "chat_template": "~/t.jinja", "threads": 4}},
    {"d": {"path": "https://u:p@example.com/x.gguf?sig=1#sha256=" + 64 * "0", "baked": "b"}},
    {"models": {"e": {"path": "s3://bucket/key", "reasoning_format": "think"}}},
]
_YAML = (
    *("a: ", "models:\n  ", "path: ", "&x ", "*x", "<<: ", "!!int ", "!!binary ", "? ", "- ", "{"),
    *('"\\ud800"', '"\\0"', "~root/x", '"~\\0"', "2001-99-99", "0x_", "1e999", ".inf", "---\n"),
    *("https://[", "hf://a", "https://é.example/ü.gguf", "}", "]", "\n", "  ", "'", "%YAML 1.1\n"),
)


@case(
    "models.yaml",
    short=50,
    content=st.one_of(
        altered(_MODELS).map(lambda value: yaml.safe_dump(value).encode()),
        text_of(_YAML).map(str.encode),
        damaged(yaml.safe_dump(_MODELS[0]).encode()),
    ),
)
def models_file(content: bytes) -> None:
    """Entries that JSON can hold, or a `ConfigError` that names the file."""
    with file_of(content, "models.yaml") as path, bounded():
        try:
            entries = read_models_file(path)
        except ConfigError as error:
            assert str(path) in str(error)
            return
    for entry in entries:
        assert entry.name.encode()
        assert os.fsencode(entry.path)


# ── addresses and spans ─────────────────────────────────────────────────────────────────────────

_ADDRESSES = (
    *("https://", "http://", "hf://", "s3://", "gs://", "HF://", "ftp://", "://", "/", "//", ".."),
    *(
        "127.0.0.1",
        "[::1]",
        "[",
        "]",
        ":99999",
        ":x",
        "user:pa55word@",
        "example.com",
        "owner/repo",
    ),
    *("x.gguf", "x-00001-of-00002.gguf", "x-00009-of-00002.gguf", "@rev", "?sig=s3cret", "%2f%2e"),
    *("#sha256=", "#", 64 * "a", "*", "\x00", "．", "℀"),  # noqa: RUF001 - what they normalise to
)


@case("fetch address", short=70, text=text_of(_ADDRESSES), name=st.none() | text_of("a/.~:\0"))
def fetch_address(text: str, name: str | None) -> None:
    """An address whose model goes into the folder and nowhere else, or `ConfigError`."""
    folder = Path("/models")
    with bounded(), suppress(ConfigError):
        address = parse_address(text)
        assert "pa55word" not in str(address) or address.scheme not in ("https", "http")
        assert len(list(itertools.islice(address.parts(), 3))) >= 1
        there = place(address, folder, name)
        assert there.root.parent == folder
        assert there.model in (there.root, there.root / there.model.name)
        assert os.fsencode(there.model)


_span = st.tuples(st.integers(0, 60), st.integers(0, 60))


@case("fetch spans", found=st.lists(_span, max_size=8), length=st.integers(1, 9))
def fetch_spans(found: list[spans.Span], length: int) -> None:
    """The same bytes, whichever way they are held."""

    def numbers(given: list[spans.Span]) -> list[int]:
        return [number for start, end in given for number in range(start, end)]

    there = sorted(set(numbers(found)))
    merged = spans.merge(found)
    assert numbers(merged) == there
    assert numbers(spans.missing(60, merged)) == sorted({*range(60)} - {*there})
    assert numbers(spans.cut(merged, length)) == there
    assert all(end - start <= length for start, end in spans.cut(merged, length))
    assert spans.total(merged) == len(there)


# ── keys ────────────────────────────────────────────────────────────────────────────────────────

_SECRET = "Tr0ub4dor-and-3-horses"  # noqa: S105 - the test's own
_KEYS_TEXT = ("ann", "bob", ":", "sha256:", "sha256", ",", "\n", "#", " ", _SECRET, 64 * "b", "é")


@case("key file", short=50, text=text_of(_KEYS_TEXT), raw=st.binary(), as_text=st.booleans())
def key_file(text: str, raw: bytes, as_text: bool) -> None:  # noqa: FBT001
    """Keys, or `InvalidKeys` that shows none."""
    content = text.encode() if as_text else raw
    with file_of(content, "keys") as path, bounded():
        for read in (
            lambda: KeyFile(path, (), clock=lambda: 0.0).in_force(),
            read_entries_of(text),
        ):
            try:
                keys = read()
            except InvalidKeys as error:
                assert _SECRET not in str(error)
            else:
                assert len({key.name for key in keys}) == len(keys) > 0
                assert _SECRET not in repr([key for key in keys if _SECRET not in key.name])


def read_entries_of(text: str) -> Any:
    """Return a call that reads *text* as the setting has it."""
    return lambda: read_entries(text)


CASES = (
    *(
        gguf_header,
        onnx_folder,
        onnx_vocabulary,
        onnx_graph,
        models_file,
        fetch_address,
        fetch_spans,
        key_file,
    ),
)

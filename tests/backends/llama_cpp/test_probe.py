"""What headers say, and what becomes of headers that lie. Files are made by hand."""

import contextlib
import os
import struct
import time

import pytest

from benchmarks import random_gguf
from pilotlight_backend import ModelFileInvalid, ModelUnsupported
from pilotlight_backend.split_file import parts
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.probe import probe

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    """Return a key with its value; the value of an array is its kind, its length and its bytes."""
    formats = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}
    if kind == STRING:
        data = text(value)
    elif kind == ARRAY:
        element, length, data = value
        data = struct.pack("<IQ", element, length) + data
    else:
        data = struct.pack(formats[kind], value)
    return text(key) + struct.pack("<I", kind) + data


def strings(*values):
    return (STRING, len(values), b"".join(text(value) for value in values))


def tensor(name="w", shape=(32,), kind=0, offset=0):
    layout = struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)
    return text(name) + struct.pack("<I", len(shape)) + layout


TENSOR = tensor()
BASE = {
    "general.architecture": (STRING, "llama"),
    "llama.context_length": (U32, 2048),
}


def gguf(keys=None, *, tensors=(TENSOR,), version=3, body=128, **counts):
    """Return a file's bytes; *keys* are added to the two that every model has."""
    pairs = [pair(key, *value) for key, value in (BASE | (keys or {})).items()]
    header = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        counts.get("tensor_count", len(tensors)),
        counts.get("key_count", len(pairs)),
    )
    header += b"".join(pairs) + b"".join(tensors)
    return header + b"\0" * (-len(header) % 32) + b"\0" * body


@pytest.fixture
def probe_bytes(tmp_path):
    def run(data, name="model.gguf"):
        path = tmp_path / name
        path.unlink(missing_ok=True)  # ext4 flushes a file that is truncated and written again
        path.write_bytes(data)
        return probe(path)

    return run


@pytest.mark.parametrize("version", [2, 3])
def test_good_header(probe_bytes, version):
    """Both versions in use have name, context, template, special tokens and KV size."""
    facts = probe_bytes(
        gguf(
            {
                "general.name": (STRING, "Kleines Modell ü"),
                "llama.block_count": (U32, 3),
                "llama.embedding_length": (U32, 64),
                "llama.attention.head_count": (U32, 4),
                "llama.attention.head_count_kv": (U32, 2),
                "tokenizer.ggml.tokens": (ARRAY, strings("<s>", "</s>", "a")),
                "tokenizer.ggml.scores": (ARRAY, (F32, 3, bytes(12))),
                "tokenizer.ggml.bos_token_id": (U32, 0),
                "tokenizer.ggml.eos_token_id": (U32, 1),
                "tokenizer.ggml.add_bos_token": (BOOL, True),
                "tokenizer.chat_template": (STRING, "{{ messages }}"),
            },
            version=version,
        )
    )
    assert (facts.architecture, facts.name) == ("llama", "Kleines Modell ü")
    assert facts.context_length == 2048
    assert facts.chat_template == "{{ messages }}"
    assert (facts.bos_token, facts.eos_token, facts.add_bos) == ("<s>", "</s>", True)
    assert facts.kv_bytes_per_token == 2 * 3 * 2 * (16 + 16)
    assert facts.size_bytes == facts.path.stat().st_size


def test_bare_header(probe_bytes):
    """A model without tokenizer and template has empty facts, not wrong ones."""
    facts = probe_bytes(gguf())
    assert (facts.name, facts.chat_template, facts.bos_token) == (None, None, "")
    assert (facts.add_bos, facts.kv_bytes_per_token) == (False, 0)


def test_token_far_into_the_vocabulary(probe_bytes):
    """Any id of a large vocabulary is found, wherever its string begins."""
    tokens = [f"t{n}" * (n % 5) for n in range(5000)]
    for index in (0, 1023, 1024, 4999):
        facts = probe_bytes(
            gguf(
                {
                    "tokenizer.ggml.tokens": (ARRAY, strings(*tokens)),
                    "tokenizer.ggml.eos_token_id": (U32, index),
                }
            )
        )
        assert facts.eos_token == tokens[index]


def test_token_id_out_of_the_vocabulary(probe_bytes):
    """An id that the vocabulary does not have is no token."""
    keys = {
        "tokenizer.ggml.tokens": (ARRAY, strings("a")),
        "tokenizer.ggml.eos_token_id": (U32, 9),
    }
    assert probe_bytes(gguf(keys)).eos_token == ""


def test_heads_that_differ_by_layer(probe_bytes):
    """Keys are added up; values, kept transposed, are as long in each layer as in the longest."""
    facts = probe_bytes(
        gguf(
            {
                "llama.block_count": (U32, 3),
                "llama.attention.head_count": (U32, 8),
                "llama.attention.head_count_kv": (ARRAY, (I32, 3, struct.pack("<3i", 4, 0, 2))),
                "llama.attention.key_length": (U32, 10),
                "llama.attention.value_length": (U32, 20),
            }
        )
    )
    assert facts.kv_bytes_per_token == 2 * (6 * 10 + 3 * 4 * 20)


def test_latent_attention(probe_bytes):
    """Multi-head latent attention caches one compressed row a layer; a layer's values are read."""
    facts = probe_bytes(
        gguf(
            {
                "llama.block_count": (U32, 2),
                "llama.attention.kv_lora_rank": (U32, 512),
                "llama.attention.key_length_mla": (U32, 192),
                "llama.rope.dimension_count": (U32, 64),
            }
        )
    )
    assert facts.kv_bytes_per_token == 2 * 2 * 576 + 2 * 512


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"G", "does not begin with"),
        (b"GGU", "does not begin with"),
        (b"PK\x03\x04rest", "does not begin with"),
        (b"\0" * 100, "does not begin with"),
        (LFS, "Git LFS pointer"),
    ],
)
def test_other_files_are_no_models(probe_bytes, data, reason):
    """A file without GGUF's first bytes is not llama.cpp's, unless its name ends in `.gguf`."""
    assert probe_bytes(data, name="model.bin") is None
    for name in ("model.gguf", "MODEL.GGUF"):
        with pytest.raises(ModelFileInvalid, match=reason):
            probe_bytes(data, name=name)


def test_missing_file_and_folder_are_no_models(tmp_path):
    """A path without a file is no model of this kind."""
    assert probe(tmp_path / "missing.gguf") is None
    assert probe(tmp_path) is None


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"general.type": (STRING, "mmproj")}, "mmproj"),
        ({"general.architecture": (STRING, "clip")}, "mmproj"),
        ({"general.type": (STRING, "adapter")}, "adapter"),
        ({"general.type": (STRING, "imatrix")}, "importance matrix"),
        ({"split.no": (U32, 1), "split.count": (U32, 2)}, "part 2 of 2"),
        ({"general.architecture": (STRING, "flux")}, "does not support the architecture 'flux'"),
        ({"general.architecture": (STRING, "t5")}, "encoder"),
        ({"general.architecture": (STRING, "t5encoder")}, "encoder"),
        ({"general.architecture": (STRING, "dream")}, "diffusion"),
        ({"general.architecture": (STRING, "llada-moe")}, "diffusion"),
        ({"general.architecture": (STRING, "eagle3")}, "is a draft model"),
        ({"general.architecture": (STRING, "wavtokenizer-dec")}, "speech"),
        ({"llama.attention.causal": (BOOL, False)}, "neither generate nor embed"),
        ({"llama.pooling_type": (U32, 4)}, "is a reranker"),
        ({"tokenizer.ggml.model": (STRING, "none")}, "no vocabulary"),
        ({"tokenizer.ggml.model": (STRING, "no_vocab")}, "no vocabulary"),
    ],
)
def test_gguf_that_cannot_be_served(probe_bytes, keys, reason):
    """Other files of models, and models that llama.cpp cannot generate with."""
    with pytest.raises(ModelUnsupported, match=reason):
        probe_bytes(gguf(keys))


def test_vocabulary_alone_cannot_be_served(probe_bytes):
    """A file for tests of tokenisers has no weights."""
    with pytest.raises(ModelUnsupported, match="a vocabulary but no weights"):
        probe_bytes(gguf(tensors=()))


@pytest.mark.parametrize("architecture", ["bert", "qwen3", "qwen35", "gpt-oss", "gemma4", "rwkv7"])
def test_architecture_that_llama_cpp_knows(probe_bytes, architecture):
    """Names are looked for in the library that will load the model."""
    keys = {
        "general.architecture": (STRING, architecture),
        f"{architecture}.context_length": (U32, 64),
        f"{architecture}.embedding_length": (U32, 64),
    }
    assert probe_bytes(gguf(keys)).architecture == architecture


def test_library_that_is_not_found_knows_everything(probe_bytes, monkeypatch):
    """If llama.cpp is in another place, the load reports an unknown architecture."""
    monkeypatch.setattr("pilotlight_llama_cpp.servable._library_text", lambda: None)
    keys = {"general.architecture": (STRING, "flux"), "flux.context_length": (U32, 64)}
    assert probe_bytes(gguf(keys)).architecture == "flux"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"block_count": (U32, 0)}, "block_count must be 1 to 512, got 0"),
        ({"block_count": (U32, 513)}, "block_count must be 1 to 512, got 513"),
        ({"nextn_predict_layers": (U32, 3)}, r"at most block_count \(2\), got 3"),
        ({"expert_count": (U32, 1025), "expert_used_count": (U32, 2)}, "got 2 of 1025"),
        ({"expert_count": (U32, 4)}, "got 0 of 4"),
        ({"expert_count": (U32, 4), "expert_used_count": (U32, 5)}, "got 5 of 4"),
        ({"expert_used_count": (U32, 2)}, "got 2 of 0"),
        ({"expert_group_count": (U32, 1)}, r"below expert_count \(0\), got 1"),
        (
            {
                "expert_count": (U32, 8),
                "expert_used_count": (U32, 2),
                "expert_group_count": (U32, 3),
                "expert_group_used_count": (U32, 1),
            },
            r"must divide expert_count \(8\).*got 3",
        ),
        (
            {
                "expert_count": (U32, 8),
                "expert_used_count": (U32, 2),
                "expert_group_count": (U32, 4),
                "expert_group_used_count": (U32, 4),
            },
            r"above expert_group_used_count \(4\), got 4",
        ),
        ({"rope.scaling.type": (STRING, "bent")}, "'bent' is not supported"),
    ],
)
def test_numbers_that_llama_cpp_would_abort_on(probe_bytes, keys, reason):
    """What fails an assertion while a header is read ends the process: it is found before."""
    given = {"block_count": (U32, 2)} | keys
    with pytest.raises(ModelFileInvalid, match=reason):
        probe_bytes(gguf({f"llama.{key}": value for key, value in given.items()}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gguf(version=1), "version 1"),
        (gguf(version=99), "version 99"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64), "big-endian"),
        (gguf(key_count=2**63), "the limits are"),
        (gguf(tensor_count=2**63), "the limits are"),
        (gguf(key_count=60_000), "."),
        (gguf(tensor_count=100_000, tensors=()), "."),
        (gguf({"x": (STRING, "y")})[:-200] + struct.pack("<Q", 2**62), "."),
        (gguf({"a": (ARRAY, (U64, 2**61, b""))}), "ends within"),
        (gguf({"a": (ARRAY, (STRING, 2**62, b""))}), "the limit of a file is"),
        (gguf({"a": (ARRAY, (STRING, 3_000_000, b""))}), "."),
        (gguf({"a": (ARRAY, (STRING, 1, struct.pack("<Q", 2**64 - 1)))}), "ends within"),
        (gguf({"a": (ARRAY, (ARRAY, 1, struct.pack("<IQ", U32, 1) + bytes(4)))}), "type 9"),
        (gguf({"a": (ARRAY, (77, 1, bytes(8)))}), "type 77"),
        (gguf({"general.name": (STRING, b"\xff\xfe")}), "not UTF-8"),
        (gguf({"general.architecture": (U32, 7)}), "must be text"),
        (gguf({"general.architecture": (STRING, "")}), "no general.architecture"),
        (gguf({"llama.context_length": (STRING, "long")}), "must be a whole number"),
        (gguf({"llama.context_length": (BOOL, True)}), "must be a whole number"),
        (gguf({"llama.context_length": (I32, -5)}), "at least 0, got -5"),
        (gguf({"llama.context_length": (U32, 0)}), "must have llama.context_length, above 0"),
        (gguf({"tokenizer.chat_template": (U32, 1)}), "must be text"),
        (gguf({"tokenizer.ggml.eos_token_id": (F32, 1.0)}), "must be a whole number"),
        (gguf({"general.alignment": (U32, 0)}), "alignment"),
        (gguf(tensors=(tensor(shape=(1,) * 5),)), "5 dimensions"),
        (gguf(tensors=(tensor(shape=(2**40, 2**40)),)), "file is incomplete"),
        (gguf(tensors=(tensor(offset=2**62),)), "file is incomplete"),
        (gguf(body=64), "file is incomplete"),
        (gguf({"split.count": (U32, 3)}), "names 3 parts, its file name 1"),
    ],
)
def test_damaged_header_is_refused(probe_bytes, data, reason):
    """A header that cannot be right is refused by the file's name, with the reason."""
    with pytest.raises(ModelFileInvalid, match=reason) as caught:
        probe_bytes(data)
    assert "model.gguf" in str(caught.value)


def test_key_that_occurs_twice(probe_bytes):
    """llama.cpp refuses such a file, so the probe does."""
    data = gguf({"general.namX": (STRING, "a"), "general.namY": (STRING, "b")})
    with pytest.raises(ModelFileInvalid, match="twice"):
        probe_bytes(data.replace(b"namX", b"name").replace(b"namY", b"name"))


def test_every_prefix_of_a_file_is_refused(probe_bytes):
    """Wherever a download stops, the file is damaged, and never a crash."""
    keys = {"tokenizer.ggml.tokens": (ARRAY, strings("a", "b")), "llama.block_count": (U64, 2)}
    whole = gguf(keys)
    assert probe_bytes(whole) is not None
    for length in range(len(whole)):
        with pytest.raises(ModelFileInvalid):
            probe_bytes(whole[:length])


def test_every_changed_byte_is_survived(probe_bytes):
    """Whatever a byte is changed to, the answer is facts, None or a refusal."""
    whole = gguf({"tokenizer.ggml.tokens": (ARRAY, strings("a", "b"))})
    for position in range(len(whole) - 128):
        for value in (0x00, 0x7F, 0xFF):
            with contextlib.suppress(ModelFileInvalid):
                probe_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])


def test_hostile_counts_take_no_time(tmp_path):
    """A sparse file that claims millions of keys and strings is refused before it is walked."""
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(gguf({"a": (ARRAY, (STRING, 2**40, b""))}))
        file.truncate(1 << 40)
    start = time.thread_time()
    with pytest.raises(ModelFileInvalid):
        probe(path)
    assert time.thread_time() - start < 5  # 0.0003; to walk it takes hours


def test_pipe_is_no_model_and_not_waited_for(tmp_path):
    """Whatever its name, the probe does not wait for a writer."""
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(ModelFileInvalid, match="not a regular file"):
        within(lambda: probe(tmp_path / "model.gguf"), 10)


def test_pipe_is_no_part_and_not_waited_for(tmp_path):
    """Nor the second part of a model that is split."""
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(gguf({"split.no": (U32, 0), "split.count": (U32, 2)}))
    os.mkfifo(second)
    with pytest.raises(ModelFileInvalid, match=f"its part {second.name} cannot be read"):
        within(lambda: probe(first), 10)


def test_device_is_no_model(tmp_path):
    """A name in the models folder may lead to what has no end."""
    (tmp_path / "model.gguf").symlink_to("/dev/zero")
    with pytest.raises(ModelFileInvalid, match="not a regular file"):
        within(lambda: probe(tmp_path / "model.gguf"), 10)


def test_link_out_of_the_folder_is_followed(tmp_path, random_model):
    """Caches are made so; who may put links there is trusted with what they lead to."""
    (tmp_path / "model.gguf").symlink_to(random_model)
    assert probe(tmp_path / "model.gguf").architecture == "qwen3"


def test_nested_array_is_refused(probe_bytes):
    """The format knows no arrays of arrays, so none is gone into."""
    with pytest.raises(ModelFileInvalid, match="values of type 9"):
        probe_bytes(gguf({"a": (ARRAY, (ARRAY, 2**30, b""))}))


def test_probe_of_a_real_shape(random_model):
    """The header that llama.cpp loads reads the same here."""
    facts = probe(random_model)
    assert facts.architecture == "qwen3"
    assert facts.context_length == random_gguf.TINY.context_length
    assert [facts.bos_token, facts.eos_token] == ["<|endoftext|>", "<|im_end|>"]
    assert facts.kv_bytes_per_token == 2 * 2 * 2 * 64


def test_split_model_is_one_model(tmp_path):
    """The first part stands for all; their sizes are added up."""
    keys = {"split.no": (U32, 0), "split.count": (U32, 2)}
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(gguf(keys))
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(gguf(keys | {"split.no": (U32, 1)}))
    facts = probe(tmp_path / "m-00001-of-00002.gguf")
    assert facts.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert [path.name for path in parts(facts.path)] == [
        "m-00001-of-00002.gguf",
        "m-00002-of-00002.gguf",
    ]


@pytest.mark.parametrize("content", [None, b"", gguf(body=0)])
def test_split_model_with_a_bad_part(tmp_path, content):
    """A part that is missing, empty or cut short is named."""
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(gguf({"split.count": (U32, 2)}))
    if content is not None:
        (tmp_path / "m-00002-of-00002.gguf").write_bytes(content)
    with pytest.raises(ModelFileInvalid, match="00002-of"):
        probe(first)


LENGTH = (U32, 384)


@pytest.mark.parametrize(
    ("keys", "length"),
    [
        ({}, 0),
        ({"llama.embedding_length": LENGTH}, 0),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (U32, 0)}, 0),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (I32, -1)}, 0),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (U32, 2**32 - 1)}, 0),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (U32, 1)}, 384),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (U32, 2)}, 384),
        ({"llama.embedding_length": LENGTH, "llama.pooling_type": (U32, 3)}, 384),
        (
            {
                "llama.embedding_length": LENGTH,
                "llama.embedding_length_out": (U32, 64),
                "llama.pooling_type": (U32, 3),
            },
            64,
        ),
    ],
)
def test_model_that_embeds(probe_bytes, keys, length):
    """A pooling type makes a model one that embeds; its vectors may have a length of their own."""
    facts = probe_bytes(gguf(keys))
    assert (facts.embedding_length, facts.embeds) == (length, length > 0)


@pytest.mark.parametrize("architecture", ["bert", "nomic-bert", "modern-bert", "gemma-embedding"])
@pytest.mark.parametrize("pooling", [{}, {"pooling_type": (U32, 0)}, {"pooling_type": (U32, 2)}])
def test_encoder_embeds_whatever_it_says(probe_bytes, architecture, pooling):
    """It can do nothing else, and keeps no cache."""
    keys = {
        "context_length": (U32, 512),
        "embedding_length": LENGTH,
        "block_count": (U32, 12),
        "attention.head_count": (U32, 12),
        **pooling,
    }
    facts = probe_bytes(
        gguf(
            {
                "general.architecture": (STRING, architecture),
                **{f"{architecture}.{key}": value for key, value in keys.items()},
            }
        )
    )
    assert (facts.architecture, facts.embedding_length) == (architecture, 384)
    assert facts.kv_bytes_per_token == 0


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"llama.pooling_type": (U32, 5)}, "pooling type 5"),
        ({"llama.pooling_type": (I32, -2)}, "at least 0, got -2"),
        ({"llama.pooling_type": (STRING, "mean")}, "must be a whole number"),
        ({"llama.pooling_type": (U32, 1)}, "must have llama.embedding_length, above 0"),
        (
            {"llama.pooling_type": (U32, 1), "llama.embedding_length": (U32, 0)},
            "must have llama.embedding_length, above 0",
        ),
    ],
)
def test_pooling_that_is_refused(probe_bytes, keys, reason):
    """An unknown type, and one that its header contradicts."""
    with pytest.raises(ModelFileInvalid, match=reason):
        probe_bytes(gguf(keys))


@pytest.mark.parametrize(
    ("architecture", "name", "keys", "reason"),
    [
        ("qwen35", "w", {"full_attention_interval": (U32, 0)}, "full_attention_interval"),
        ("qwen35moe", "w", {}, "expert_used_count or"),
        ("mamba2", "blk.0.ssm_norm.weight", {"ssm.group_count": (U32, 0)}, "ssm.group_count"),
        ("mamba2", "blk.0.ssm_norm.weight", {"ssm.group_count": (U32, 2)}, "time_step_rank"),
        ("rwkv7", "blk.0.time_mix_key.weight", {"wkv.head_size": (U32, 0)}, "wkv.head_size"),
        ("olmo2", "blk.0.attn_q.weight", {}, "attention.head_count"),
        ("falcon", "blk.0.attn_qkv.weight", {"attention.head_count": (U32, 0)}, "head_count"),
    ],
)
def test_what_llama_cpp_would_divide_by(probe_bytes, architecture, name, keys, reason):
    """A division by zero is a signal that ends the process: it is found before."""
    given = {
        "context_length": (U32, 64),
        "block_count": (U32, 1),
        "ssm.inner_size": (U32, 8),
    } | keys
    header = {f"{architecture}.{key}": value for key, value in given.items()}
    header["general.architecture"] = (STRING, architecture)
    with pytest.raises(ModelFileInvalid, match=reason):
        probe_bytes(gguf(header, tensors=(tensor(name),)))


@pytest.mark.parametrize(
    ("name", "is_known"),
    [("qwen3", True), ("lfm2", True), ("qwen3-0.6b-instruct-q8_0", False), ("\ud800 no", False)],
)
def test_which_names_are_architectures(name, is_known):
    assert LlamaCppBackend().knows_architecture(name) is is_known

"""Files that say they are adapters: each fault is found before llama.cpp sees the file."""

import random
import struct

import pytest

from benchmarks import random_gguf, random_lora
from benchmarks.random_gguf import ARRAY, F32, I32, STRING, U32, write_gguf
from pilotlight_backend import ModelFileInvalid, ModelUnsupported
from pilotlight_llama_cpp import lora_file

Q = "blk.0.attn_q.weight"
"""128 rows of 64 columns in the tiny model."""
KEYS = (
    ("general.type", STRING, "adapter"),
    ("general.architecture", STRING, "qwen3"),
    ("adapter.type", STRING, "lora"),
    ("adapter.lora.alpha", F32, 16.0),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    random_gguf.write(path, random_gguf.TINY)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapter.gguf"


def check(path, model, keys=KEYS, tensors=((f"{Q}.lora_a", (8, 64)), (f"{Q}.lora_b", (128, 8)))):
    """Check an adapter with these keys and tensors: names, rows and columns, and types."""
    given = [(*one, "F32")[:3] for one in tensors]
    write_gguf(path, list(keys), given, seed=1)
    return lora_file.check(path, model)


def with_key(key, kind, value):
    return [(key, kind, value) if one[0] == key else one for one in KEYS]


def test_good_adapter_has_its_rank(path, model):
    facts = check(path, model)
    assert (facts.rank, facts.size_bytes) == (8, path.stat().st_size)


def test_every_matrix_of_a_random_adapter_fits(path, model):
    assert lora_file.check(random_lora.write(path, model, rank=16), model).rank == 16


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (KEYS[1:], "its general.type is None, expected 'adapter'"),
        (with_key("general.type", STRING, "model"), "its general.type is 'model', expected"),
        (with_key("adapter.type", STRING, "control"), "its adapter.type is 'control', expected"),
        (with_key("adapter.type", U32, 3), "'adapter.type' must be text"),
        (with_key("general.architecture", STRING, "llama"), "it is for the architecture 'llama'"),
        ([KEYS[0], *KEYS[2:]], "no general.architecture"),
        (with_key("adapter.lora.alpha", F32, float("inf")), "must be finite, got inf"),
        (with_key("adapter.lora.alpha", F32, float("nan")), "must be finite, got nan"),
        (with_key("adapter.lora.alpha", U32, 16), "must be a float32"),
        (with_key("adapter.lora.alpha", ARRAY, (F32, [1.0])), "must be a float32"),
        (
            [*KEYS, ("adapter.alora.invocation_tokens", ARRAY, (U32, [1, 2]))],
            "it is an activated LoRA",
        ),
        ([*KEYS, ("adapter.alora.invocation_tokens", I32, 1)], "it is an activated LoRA"),
    ],
)
def test_wrong_key_is_named(path, model, keys, reason):
    with pytest.raises(ModelFileInvalid) as raised:
        check(path, model, keys)
    assert str(raised.value).startswith("adapter.gguf: ")
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ([], "it has no tensors that end with .lora_a and .lora_b"),
        ([(f"{Q}.lora_a", (8, 64))], f"{Q!r} has one of .lora_a and .lora_b, and needs both"),
        ([(Q, (128, 64))], f"the tensor {Q!r} must end with .lora_a or .lora_b"),
        ([(".lora_a", (8, 64)), (".lora_b", (128, 8))], "the model has no tensor ''"),
        (
            [("blk.9.attn_q.weight.lora_a", (8, 64)), ("blk.9.attn_q.weight.lora_b", (128, 8))],
            "the model has no tensor 'blk.9.attn_q.weight'",
        ),
        ([(f"{Q}.lora_a", (8, 32)), (f"{Q}.lora_b", (128, 8))], "has the shape 32 by 8, expected"),
        ([(f"{Q}.lora_a", (8, 64)), (f"{Q}.lora_b", (64, 8))], "has the shape 8 by 64, expected"),
        ([(f"{Q}.lora_a", (4, 64)), (f"{Q}.lora_b", (128, 8))], "expected 64 by 8"),
        ([(f"{Q}.lora_a", (64, 8)), (f"{Q}.lora_b", (8, 128))], "expected"),
        ([(f"{Q}.lora_a", (2, 8, 64)), (f"{Q}.lora_b", (2, 128, 8))], "64 by 8 by 2, expected"),
        ([(f"{Q}.lora_a", (0, 64)), (f"{Q}.lora_b", (128, 0))], "has the shape"),
        ([(f"{Q}.lora_a", (64,)), (f"{Q}.lora_b", (128,))], "has the shape"),
        (
            [("output_norm.weight.lora_a", (8, 64)), ("output_norm.weight.lora_b", (1, 8))],
            "'output_norm.weight' is no matrix of the model",
        ),
        ([("blk.0.attn_norm.weight", (64,))], "llama.cpp ignores"),
        (
            [("token_embd.weight.lora_a", (512, 8)), ("token_embd.weight.lora_b", (64, 8))],
            "which is the model's output too",
        ),
        (
            [(f"{Q}.lora_a", (8, 64), "Q8_0"), (f"{Q}.lora_b", (128, 8), "Q8_0")],
            "its rows of 8 are no multiple of 32",
        ),
        (
            [(f"{Q}.lora_a", (8, 64))] * 2,
            f"the tensor '{Q}.lora_a' occurs twice",
        ),
    ],
)
def test_wrong_tensor_is_named(path, model, tensors, reason):
    with pytest.raises(ModelFileInvalid) as raised:
        check(path, model, tensors=tensors)
    assert reason in str(raised.value)


def test_type_that_cannot_be_multiplied_is_refused(path, model):
    """Whole numbers of 32 bits: `ggml_mul_mat` would fail an assertion."""
    check(path, model)
    data = bytearray(path.read_bytes())
    name = f"{Q}.lora_b".encode()
    at = data.index(name) + len(name) + 4 + 2 * 8
    assert struct.unpack_from("<I", data, at) == (0,)
    struct.pack_into("<I", data, at, 26)
    path.write_bytes(data)
    with pytest.raises(ModelFileInvalid, match="has the type 26, expected F32, F16, Q8_0, BF16"):
        lora_file.check(path, model)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"PK\3\4 adapter_model", "it is not a GGUF file"),
        (b"GGUF\3\0\0\0", "the file ends within its header"),
    ],
)
def test_file_of_another_kind(path, model, content, reason):
    path.write_bytes(content)
    with pytest.raises(ModelFileInvalid, match=reason):
        lora_file.check(path, model)


def test_folder_is_refused_with_advice(tmp_path, model):
    """PEFT writes a folder of safetensors."""
    with pytest.raises(ModelFileInvalid, match=r"convert_lora_to_gguf\.py"):
        lora_file.check(tmp_path, model)


def test_model_is_no_adapter(model):
    with pytest.raises(ModelFileInvalid, match=r"its general\.type is None, expected 'adapter'"):
        lora_file.check(model, model)


def test_cut_and_flipped_files_raise_nothing_else(path, model):
    """Some prefixes of the header, and files with a few changed bytes of it."""
    check(path, model)
    whole = path.read_bytes()
    header = len(whole) - (8 * 64 + 128 * 8) * 4
    source = random.Random(1)  # noqa: S311 - no secret
    for number in range(300):
        data = bytearray(whole)
        if number < header // 4:
            data = data[: 4 * number]
        else:
            for _ in range(source.randint(1, 4)):
                data[source.randrange(header)] = source.choice([0, 1, 7, 8, 9, 127, 255])
        path.write_bytes(data)
        try:
            facts = lora_file.check(path, model)
        except ModelFileInvalid:
            continue
        assert 1 <= facts.rank <= 128


def test_unsupported_is_told_from_damaged(path, model):
    """An adapter for another architecture is intact."""
    with pytest.raises(ModelUnsupported):
        check(path, model, with_key("general.architecture", STRING, "llama"))

"""What a header says that a model will take, against what llama.cpp allocates for it."""

import logging
import re

import pytest
from msgspec.structs import replace

from benchmarks.random_families import GENERATES
from pilotlight_backend import LoadOptions
from pilotlight_backend.capacity import in_force, memory_need
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.probe import probe

pytestmark = pytest.mark.slow

_BUFFER = re.compile(r" (?P<kind>KV|RS|model|compute|output) buffer size = +(?P<mib>[\d.]+) MiB")
_MIB = 1 << 20


@pytest.fixture
def allocated(caplog, monkeypatch):
    """Return a function that loads a model and returns llama.cpp's buffers, in bytes by kind."""
    monkeypatch.setattr("pilotlight_llama_cpp.context_lengths.SHORT", 1 << 20)  # whole at once

    def load(path, options):
        caplog.set_level(logging.DEBUG, "pilotlight.llama_cpp")
        caplog.clear()
        backend = LlamaCppBackend()
        backend.load(backend.probe(path), options, lambda _: None).close()
        sizes = {}
        for found in filter(None, (_BUFFER.search(line) for line in caplog.messages)):
            sizes[found["kind"]] = sizes.get(found["kind"], 0) + float(found["mib"]) * _MIB
        return sizes

    return load


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("size", [(4, 2048), (1, 4096)])
@pytest.mark.parametrize("architecture", GENERATES)
def test_estimate_is_what_llama_cpp_allocates(family, allocated, architecture, size, deterministic):
    """Of every family: caches and states to a hundredth, all together within 15 %."""
    path = family(architecture)
    slots, length = size
    options = LoadOptions(
        parallel=slots, context_length=length, threads=1, deterministic=deterministic
    )
    facts = in_force(probe(path), options)
    sizes = allocated(path, options)
    # Without flash attention their estimate has a layer more.
    compressed = architecture in {"deepseek2", "kimi-linear"}
    if not (compressed and deterministic):
        kept = slots * length * facts.kv_bytes_per_token
        assert kept == pytest.approx(sizes.get("KV", 0), abs=0.01 * _MIB)
    state = slots * facts.state_bytes
    assert state == pytest.approx(sizes.get("RS", 0), abs=0.01 * _MIB)
    # Nemotron-H's scan takes less than that of other hybrids.
    most = 0.4 if architecture == "nemotron_h" and not deterministic else 0.15
    assert memory_need(facts, options, length) == pytest.approx(sum(sizes.values()), rel=most)


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(cache_type_k="q8_0", cache_type_v="q8_0"),
        LoadOptions(cache_type_k="q5_1", cache_type_v="iq4_nl"),
        LoadOptions(cache_type_k="q4_0", cache_type_v="q4_1", kv_unified=True),
        LoadOptions(cache_type_k="f32", cache_type_v="bf16"),
        LoadOptions(cache_type_k="q5_0", deterministic=True),
    ],
)
def test_types_of_the_cache(family, allocated, options):
    """The KV cache is as large as their bits say, in one piece or in one for each slot."""
    path, length = family("qwen3"), 1024
    options = replace(options, parallel=4, context_length=length, threads=1)
    sizes = allocated(path, options)
    kept = 4 * length * in_force(probe(path), options).kv_bytes_per_token
    assert kept == pytest.approx(sizes["KV"], abs=0.01 * _MIB)
    need = memory_need(probe(path), options, length)
    assert need == pytest.approx(sum(sizes.values()), rel=0.15)


@pytest.mark.parametrize(
    ("keys", "layers"),
    [
        ({"full_attention_interval": 4}, 1),
        ({"full_attention_interval": 2}, 2),
        ({"attention.recurrent_layers": [1, 1, 1, 0]}, 1),
        ({"attention.recurrent_layers": [0, 0, 1, 0], "full_attention_interval": 4}, 3),
    ],
)
def test_layers_that_keep_a_cache(family, allocated, keys, layers):
    """An interval or a list says which layers do; the list wins."""
    path = family("qwen35", **keys)
    options = LoadOptions(parallel=1, context_length=1024, threads=1)
    kept = layers * 2 * 2 * 128
    assert probe(path).kv_bytes_per_token == kept
    assert allocated(path, options)["KV"] == pytest.approx(1024 * kept, abs=0.01 * _MIB)


@pytest.mark.parametrize(
    ("shared", "windows"), [(0, [1, 1, 0, 1, 0]), (2, [1, 1, 0, 1, 0]), (3, [1, 0, 1, 1, 0])]
)
def test_layers_that_share_a_cache(family, allocated, shared, windows):
    """The last layers use those of earlier ones, and keep none."""
    keys = {"attention.shared_kv_layers": shared, "attention.sliding_window_pattern": windows}
    path = family("gemma4", **keys)
    options = LoadOptions(parallel=1, context_length=1024, threads=1)
    expected = 1024 * in_force(probe(path), options).kv_bytes_per_token
    assert expected == pytest.approx(allocated(path, options)["KV"], abs=0.01 * _MIB)

"""What llama.cpp cuts a batch into: the model of it, against the ubatches that it computes."""

import ctypes
import itertools
import random

import pytest

from pilotlight_llama_cpp.native import library
from pilotlight_llama_cpp.ubatches import Part, cost, split

SLOTS, MOST = 8, 40
EMBEDDINGS = b"embd"
"""The first tensor of a graph, a row for each token (`build_inp_embd` in llama-graph.cpp)."""


class Counted:
    """A context that notes the tokens of each ubatch, by ggml's callback for each node."""

    def __init__(self, path, *, unified):
        self.lib = lib = library()
        self._name, self._rows = lib._lib.ggml_get_name, lib._lib.ggml_nrows
        self._name.restype, self._rows.restype = ctypes.c_char_p, ctypes.c_int64
        self._name.argtypes = self._rows.argtypes = [ctypes.c_void_p]
        self.model = lib.llama_model_load_from_file(
            str(path).encode(), lib.llama_model_default_params()
        )
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = SLOTS * 512, SLOTS
        params.n_batch, params.n_ubatch = 512, MOST
        params.n_threads = params.n_threads_batch = 1
        params.kv_unified = unified
        params.cb_eval = self._callback = lib.ggml_backend_sched_eval_callback(self._node)
        self.context = lib.llama_init_from_model(self.model, params)
        self.ubatches = []

    def _node(self, tensor, asked, _data):
        counts = self._name(tensor) == EMBEDDINGS
        if counts and not asked:
            self.ubatches.append(self._rows(tensor))
        return counts or not asked

    def decode(self, parts):
        lib = self.lib
        lib.llama_memory_clear(lib.llama_get_memory(self.context), False)  # noqa: FBT003 - C
        batch = lib.llama_batch_init(sum(part.tokens for part in parts), 0, 1)
        rows = itertools.count()
        for part in parts:
            for position in range(part.tokens):
                row = next(rows)
                batch.token[row], batch.pos[row] = 1 + row % 200, position
                batch.n_seq_id[row], batch.seq_id[row][0] = 1, part.slot
                batch.logits[row] = position == part.tokens - 1
        batch.n_tokens = next(rows)
        self.ubatches.clear()
        assert lib.llama_decode(self.context, batch) == 0
        lib.llama_batch_free(batch)
        return list(self.ubatches)

    def close(self):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)


@pytest.fixture(scope="module", params=[False, True], ids=["streams", "unified"])
def counted(request, random_model):
    context = Counted(random_model, unified=request.param)
    yield lambda parts: (context.decode(parts), request.param)
    context.close()


BATCHES = {
    "one token": [Part(0, 1)],
    "neighbours": [Part(0, 1), Part(1, 1), Part(2, 1)],
    "gaps": [Part(0, 1), Part(2, 1), Part(3, 1), Part(7, 1)],
    "prompt beside neighbours": [Part(0, 1), Part(1, 1), Part(2, 30)],
    "prompt before neighbours": [Part(0, 30), Part(1, 1), Part(2, 1)],
    "prompt apart": [Part(0, 1), Part(1, 1), Part(5, 30)],
    "longer than a ubatch": [Part(3, 100)],
    "equal prompts": [Part(slot, 12) for slot in range(8)],
    "unequal prompts": [Part(slot, 3 + 7 * slot) for slot in range(8)],
    "everything": [Part(0, 1), Part(1, 50), Part(3, 1), Part(4, 9), Part(5, 1), Part(7, 41)],
}


@pytest.mark.parametrize("parts", BATCHES.values(), ids=BATCHES)
def test_batch_is_split_as_llama_cpp_does(counted, parts):
    """The number of ubatches, and the tokens of each, in their order."""
    ubatches, unified = counted(parts)
    assert split(parts, most=MOST, unified=unified) == ubatches
    assert sum(ubatches) == sum(part.tokens for part in parts)


def test_random_batches(counted):
    """Any slots, any lengths."""
    draw = random.Random(1)  # noqa: S311 - repeatable
    for _ in range(60):
        slots = sorted(draw.sample(range(SLOTS), draw.randint(1, SLOTS)))
        parts = [Part(slot, draw.choice([1, 1, 2, 7, 30, 60])) for slot in slots]
        ubatches, unified = counted(parts)
        assert split(parts, most=MOST, unified=unified) == ubatches


def test_gaps_cost_a_pass_each():
    """Four streams in every second slot are four passes, of neighbours one."""
    gaps, neighbours = ([Part(slot * step, 1) for slot in range(4)] for step in (2, 1))
    assert split(gaps, most=MOST, unified=False) == [1, 1, 1, 1]
    assert split(gaps, most=MOST, unified=True) == [4]
    assert cost(gaps, most=MOST, unified=False) > cost(neighbours, most=MOST, unified=False)

"""The contract's own suite, on a small model of each family that llama.cpp serves.

The parts that a family's cache and state can make a difference to; the whole suite runs on one
model, see `test_conformance`.
"""

import pytest

from pilotlight_backend.testing.conformance.cancelling import CancelConformance
from pilotlight_backend.testing.conformance.conversing import ConversationConformance
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.generating import GenerateConformance
from pilotlight_backend.testing.conformance.sharing import ShareConformance
from pilotlight_llama_cpp.backend import LlamaCppBackend

pytestmark = pytest.mark.slow

CUT = {
    "experts": "qwen3moe",
    "latent attention": "deepseek2",
    "window": "gemma3",
    "window and experts": "gpt-oss",
    "chunks": "llama4",
    "shared cache": "gemma4",
}
"""Families whose cache can be cut back to any length, and copied."""
STATE = {
    "hybrid": "qwen35",
    "hybrid of convolutions": "lfm2",
    "hybrid in each layer": "falcon-h1",
    "recurrent": "mamba2",
    "recurrent without keys": "rwkv7",
}
"""Families with a state, which knows no earlier length: sharers of a prompt each read it."""
FAMILIES = CUT | STATE
SHARING = {name: CUT[name] for name in ("experts", "window", "shared cache")}


class _OfFamilies(ConformanceFixtures):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()


class TestFamilies(_OfFamilies, GenerateConformance, ConversationConformance):
    """Each answers alone as beside others, and continues its conversations."""

    @pytest.fixture(scope="class", params=FAMILIES.values(), ids=FAMILIES)
    @classmethod
    def model_path(cls, request, family):
        return family(request.param)


class TestFamiliesThatShare(_OfFamilies, ShareConformance, CancelConformance):
    """A prompt that several requests share is read once, and a cancelled one leaves nothing."""

    @pytest.fixture(scope="class", params=SHARING.values(), ids=SHARING)
    @classmethod
    def model_path(cls, request, family):
        return family(request.param)

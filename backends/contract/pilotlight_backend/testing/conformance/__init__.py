"""The conformance suite: what every backend must do.

Run it by subclassing, with pytest; nothing else in this distribution imports pytest. It needs
numpy, which every backend's logits are arrays of.

    from pilotlight_backend.testing.conformance import BackendConformance

    class TestMyBackend(BackendConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls) -> Backend: ...

        @pytest.fixture(scope="class")
        @classmethod
        def model_path(cls) -> Path: ...  # a small model, a few megabytes at the most

`options`, `prompt_text` and `plugin` may be overridden too; see `ConformanceFixtures`. A backend
that embeds overrides `embedding_model_path`, one that ranks `ranking_model_path`; one that does
only that subclasses `EmbedConformance` or `RankConformance`.

The suite asserts the contract, and nothing that a correct backend may do differently. It never
sleeps: it waits for events, at most `DEADLINE` seconds. To catch a running request it listens
slowly, which keeps any engine busy.
"""

import pytest

# Before the modules are imported: otherwise pytest does not explain their failed asserts.
_PARTS = (
    "adapting",
    "baking",
    "caching",
    "cancelling",
    "closing",
    "conversing",
    "embedding",
    "fixtures",
    "generating",
    "guiding",
    "listener",
    "loading",
    "pooling_listener",
    "prefilling",
    "probing",
    "queueing",
    "ranking",
    "refusing",
    "sharing",
    "tokenizing",
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from pilotlight_backend.testing.conformance.adapting import AdaptConformance  # noqa: E402
from pilotlight_backend.testing.conformance.baking import BakeConformance  # noqa: E402
from pilotlight_backend.testing.conformance.caching import CacheConformance  # noqa: E402
from pilotlight_backend.testing.conformance.cancelling import CancelConformance  # noqa: E402
from pilotlight_backend.testing.conformance.closing import CloseConformance  # noqa: E402
from pilotlight_backend.testing.conformance.conversing import (  # noqa: E402
    ConversationConformance,
)
from pilotlight_backend.testing.conformance.embedding import EmbedConformance  # noqa: E402
from pilotlight_backend.testing.conformance.generating import GenerateConformance  # noqa: E402
from pilotlight_backend.testing.conformance.guiding import GuideConformance  # noqa: E402
from pilotlight_backend.testing.conformance.loading import LoadConformance  # noqa: E402
from pilotlight_backend.testing.conformance.prefilling import PrefillConformance  # noqa: E402
from pilotlight_backend.testing.conformance.probing import ProbeConformance  # noqa: E402
from pilotlight_backend.testing.conformance.queueing import QueueingConformance  # noqa: E402
from pilotlight_backend.testing.conformance.ranking import RankConformance  # noqa: E402
from pilotlight_backend.testing.conformance.refusing import RefuseConformance  # noqa: E402
from pilotlight_backend.testing.conformance.seeing import SeeConformance  # noqa: E402
from pilotlight_backend.testing.conformance.sharing import ShareConformance  # noqa: E402
from pilotlight_backend.testing.conformance.tokenizing import TokenizeConformance  # noqa: E402

__all__ = ["BackendConformance"]


class BackendConformance(
    ProbeConformance,
    LoadConformance,
    TokenizeConformance,
    GenerateConformance,
    GuideConformance,
    QueueingConformance,
    ShareConformance,
    ConversationConformance,
    CancelConformance,
    PrefillConformance,
    RefuseConformance,
    CloseConformance,
    BakeConformance,
    CacheConformance,
    AdaptConformance,
    EmbedConformance,
    RankConformance,
    SeeConformance,
):
    """The whole suite."""

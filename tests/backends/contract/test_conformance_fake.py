"""The conformance suite, run for the fake backend."""

from pathlib import Path

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.prefilling import PrefillConformance
from pilotlight_backend.testing.fake import FakeBackend, FakeModel, Piece

pytestmark = pytest.mark.slow


class TestFakeThatEchoes(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> FakeBackend:
        return FakeBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return FakeModel(name="echo").write(tmp_path_factory.mktemp("models") / "echo.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(embedding_length=8)
        return model.write(tmp_path_factory.mktemp("models") / "embed.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(relevance="probability")
        return model.write(tmp_path_factory.mktemp("models") / "rank.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def seeing_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(image_tokens=20)
        return model.write(tmp_path_factory.mktemp("models") / "see.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls) -> str:
        return "pilotlight_backend.testing.plugin"


class TestFakeWithPieces(TestFakeThatEchoes):
    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(reply=("4", " is", " ", Piece(b"\xf0\x9f"), Piece(b"\xa6\x99")))
        return model.write(tmp_path_factory.mktemp("models") / "pieces.fake")


class TestFakeWithLongPrompts(PrefillConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> FakeBackend:
        return FakeBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(prompt_token_seconds=0.05)
        return model.write(tmp_path_factory.mktemp("models") / "slow.fake")

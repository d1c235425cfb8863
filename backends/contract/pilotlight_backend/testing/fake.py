"""A backend without weights, good enough to drive the whole service, deterministic throughout.

    backend = FakeBackend()
    path = FakeModel(reply="Hello").write(tmp_path / "hello.fake")
    backend.load_gate.hold()            # loads now stand still; release(1) lets one step through
    backend.token_gate.hold()           # so do engines; release(1) is one token for each request
    backend.engines[0].requests         # what arrived

What a model does stands in its file, see `FakeModel`; when it does it, a test says by the gates.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Condition
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pilotlight_backend.capacity import context_length
from pilotlight_backend.errors import (
    BackendError,
    InsufficientMemory,
    LoadFailed,
    ModelFileInvalid,
    ModelUnsupported,
)
from pilotlight_backend.testing.fake_baking import FakeBakingEngine, baked_tokens
from pilotlight_backend.testing.fake_embedding_engine import FakeEmbeddingEngine
from pilotlight_backend.testing.fake_engine import FakeEngine
from pilotlight_backend.testing.fake_gate import Gate
from pilotlight_backend.testing.fake_model import SUFFIX, FakeModel, Line, Piece, read_model
from pilotlight_backend.testing.fake_pooling_engine import FakePoolingEngine
from pilotlight_backend.testing.fake_ranking_engine import FakeRankingEngine
from pilotlight_backend.testing.fake_tokenizer import tokenizer_of
from pilotlight_backend.types import LoadOptions, LoadProgress, ModelFacts

__all__ = [
    "PROJECTOR",
    "FakeBackend",
    "FakeBakingEngine",
    "FakeEmbeddingEngine",
    "FakeEngine",
    "FakeModel",
    "FakeRankingEngine",
    "Gate",
    "Line",
    "Load",
    "Piece",
]


PROJECTOR = b"fake projector"
"""The first bytes of a projector."""

_Pooling = TypeVar("_Pooling", bound=FakePoolingEngine)


class Load(Struct, frozen=True):
    """What one call of `FakeBackend.load` was given."""

    facts: ModelFacts
    options: LoadOptions


class FakeBackend:
    """Runs `.fake` files; *embedded* is the one to say ships inside.

    Where it *bakes*, its engines do too, and loads take baked prompts up.
    """

    def __init__(
        self, name: str = "fake", embedded: Path | None = None, *, bakes: bool = True
    ) -> None:
        self._name = name
        self._bakes = bakes
        self._embedded = embedded
        self._changed = Condition()
        self.load_gate = Gate(self._changed)
        """Each progress report of a load after its first one passes here."""
        self.token_gate = Gate(self._changed)
        """Each step of each engine passes here."""
        self.loads: list[Load] = []
        """Every load that was begun, those that failed included."""
        self.engines: list[FakeEngine] = []
        """The engines that are not closed, in the order of their loads' ends."""
        self.embedders: list[FakeEmbeddingEngine] = []
        """The same of the engines that embed."""
        self.rankers: list[FakeRankingEngine] = []
        """The same of the engines that rank."""

    @property
    def name(self) -> str:
        """The backend's name."""
        return self._name

    def embedded(self) -> Path | None:
        """Return the path that was given."""
        return self._embedded

    def probe(self, path: Path) -> ModelFacts | None:
        """Return what the file says, or None where it has another suffix."""
        if path.suffix != SUFFIX or not path.is_file():
            return None
        model = read_model(path)
        if model.unserved is not None:
            raise ModelUnsupported(path, model.unserved)
        return model.facts(path)

    def probe_projector(self, path: Path, model: ModelFacts) -> ModelFacts:
        """Return the facts of a model that sees, if the file begins as a fake projector does."""
        data = path.read_bytes()
        if not data.startswith(PROJECTOR):
            raise ModelFileInvalid(path, "it is not a fake projector")
        return replace(
            model,
            projector=path,
            projector_bytes=len(data),
            input_modalities=("text", "image"),
            size_bytes=model.size_bytes - model.projector_bytes + len(data),
        )

    def load(
        self,
        facts: ModelFacts,
        options: LoadOptions,
        progress: Callable[[LoadProgress], None],
    ) -> FakeEngine | FakePoolingEngine:
        """Load as the file says: in its steps, in its time, and with its failure."""
        model = read_model(facts.path)
        with self._changed:
            earlier = sum(load.facts.path == facts.path for load in self.loads)
            self.loads.append(Load(facts, options))
        self._read(model, facts.size_bytes, progress)
        error = load_error(model, facts, earlier)
        if error is not None:
            raise error
        progress(LoadProgress("warm", facts.size_bytes, facts.size_bytes))
        tokenizer = tokenizer_of(model)
        facts = replace(
            facts,
            context_length=context_length(facts, options),
            vocabulary_size=tokenizer.size,
            control_names=tokenizer.control,
        )
        if facts.embeds:
            return self._open_pooling(FakeEmbeddingEngine, self.embedders, model, facts, options)
        if facts.ranks:
            return self._open_pooling(FakeRankingEngine, self.rankers, model, facts, options)
        return self._open(model, facts, options)

    def _read(self, model: FakeModel, total: int, progress: Callable[[LoadProgress], None]) -> None:
        progress(LoadProgress("read", 0, total))
        for step in range(1, model.load_steps + 1):
            self.load_gate.wait()
            time.sleep(model.load_seconds / model.load_steps)
            progress(LoadProgress("read", total * step // model.load_steps, total))

    def _open(self, model: FakeModel, facts: ModelFacts, options: LoadOptions) -> FakeEngine:
        kind = FakeBakingEngine if self._bakes else FakeEngine
        baked = baked_tokens(facts, options) if self._bakes else ()
        with self._changed:
            engine = kind(
                model,
                facts,
                options,
                changed=self._changed,
                token_gate=self.token_gate,
                on_close=self._forget,
                baked=baked,
            )
            self.engines.append(engine)
        return engine

    def _open_pooling(
        self,
        kind: type[_Pooling],
        engines: list[_Pooling],
        model: FakeModel,
        facts: ModelFacts,
        options: LoadOptions,
    ) -> _Pooling:
        def forget(engine: _Pooling) -> None:
            with self._changed:
                engines.remove(engine)

        with self._changed:
            engine = kind(
                model,
                facts,
                options,
                changed=self._changed,
                token_gate=self.token_gate,
                on_close=forget,
            )
            engines.append(engine)
        return engine

    def _forget(self, engine: FakeEngine) -> None:
        with self._changed:
            self.engines.remove(engine)


def load_error(model: FakeModel, facts: ModelFacts, earlier: int) -> BackendError | None:
    """Return what a load of *model* raises after *earlier* loads, or None where it succeeds."""
    allowed = model.load_errors_before_success
    if model.load_error is None or (allowed is not None and earlier >= allowed):
        return None
    if model.load_error == "abort":
        os.abort()
    if model.load_error == "invalid":
        return ModelFileInvalid(facts.path, "the model says that it is invalid")
    if model.load_error == "memory":
        return InsufficientMemory(facts.size_bytes, facts.size_bytes // 2)
    return LoadFailed(f"{facts.path.name}: the model says that its load fails")

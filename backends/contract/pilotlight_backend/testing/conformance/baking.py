"""Baking: a later load starts from a prompt's state in a file, unless the file does not fit."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import ContextLengthExceeded, EngineClosed, InvalidParameter
from pilotlight_backend.protocols import Backend, BakingEngine, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import request_of, run, submit, within
from pilotlight_backend.types import BakedPrompt, LoadOptions, ModelFacts

LENGTH = 8
PROMPT = 150
"""Tokens; the context of the suite has at least 256."""
BAKED_AT_LEAST = 100
"""Tokens of these."""
TEMPLATE = "0123"


class BakeConformance(ConformanceFixtures):
    """`BakingEngine.bake` and `LoadOptions.baked`; skipped where the backend has no such engine."""

    @pytest.fixture(scope="class")
    @classmethod
    def baking_engine(cls, engine: Engine) -> BakingEngine:
        """Return the engine, as one that bakes."""
        if not isinstance(engine, BakingEngine):
            pytest.skip("this backend does not bake")
        return engine

    @pytest.fixture(scope="class")
    @classmethod
    def long_prompt(cls, prompt: list[int]) -> list[int]:
        """Return a prompt that is worth baking."""
        return (prompt * PROMPT)[:PROMPT]

    @pytest.fixture(scope="class")
    @classmethod
    def baked(
        cls,
        baking_engine: BakingEngine,
        long_prompt: list[int],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> BakedPrompt:
        """Bake the prompt once for the class."""
        path = tmp_path_factory.mktemp("baked") / "model.baked"
        baked = BakedPrompt(path=path, template=TEMPLATE)
        count = within(lambda: baking_engine.bake(tuple(long_prompt), baked))
        assert BAKED_AT_LEAST <= count <= len(long_prompt)
        assert [one.name for one in path.parent.iterdir()] == [path.name], "something is left"
        return baked

    @pytest.fixture(scope="class")
    @classmethod
    def loads(cls, backend: Backend, model: ModelFacts, options: LoadOptions) -> "Loads":
        """Return a helper that loads the model, sends one request, and closes."""
        return Loads(backend, model, options)

    def test_first_request_starts_behind_the_baked_prompt(
        self, loads: "Loads", baked: BakedPrompt, long_prompt: list[int], prompt: list[int]
    ) -> None:
        """A request that begins with it evaluates only the rest, and samples the same tokens."""
        whole = [*long_prompt, *prompt]
        expected, cached = loads.answer(whole)
        assert cached == 0
        tokens, cached = loads.answer(whole, baked=baked)
        assert tokens == expected
        assert BAKED_AT_LEAST <= cached <= len(long_prompt)

    def test_every_request_starts_behind_it(
        self, loads: "Loads", baked: BakedPrompt, long_prompt: list[int], prompt: list[int]
    ) -> None:
        """So do requests that run together, and one whose slot held something else."""
        engine = loads.load(baked=baked)
        turns = [[*long_prompt, *prompt[start:]] for start in range(min(4, len(prompt)))]
        for _ in range(2):
            for one in [submit(engine, request_of(turn, LENGTH)) for turn in turns]:
                assert one.listener.finish().usage.cached_tokens >= BAKED_AT_LEAST
            for one in [submit(engine, request_of(prompt[::-1], 2)) for _ in turns]:
                one.listener.finish()
        answers = [run(engine, request_of(turn, LENGTH)).tokens for turn in turns]
        engine.close()
        assert answers == [loads.answer(turn)[0] for turn in turns]

    def test_other_prompts_are_what_they_were(
        self, loads: "Loads", baked: BakedPrompt, long_prompt: list[int], prompt: list[int]
    ) -> None:
        """The baked prompt alone, a part of it and another prompt are answered as without it."""
        for turn in (long_prompt, long_prompt[:-20], [*long_prompt[:40], *prompt[::-1]], prompt):
            tokens, cached = loads.answer(turn, baked=baked)
            assert tokens == loads.answer(turn)[0]
            assert cached < len(turn)

    def test_file_of_another_origin_is_ignored(
        self,
        loads: "Loads",
        baked: BakedPrompt,
        long_prompt: list[int],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With another template or context the load warns, and goes on without it."""
        expected, _ = loads.answer([*long_prompt, long_prompt[0]])
        for changed in (
            {"baked": replace(baked, template="another")},
            {"baked": baked, "context_length": loads.context_length - 1},
        ):
            caplog.clear()
            assert loads.answer([*long_prompt, long_prompt[0]], **changed) == (expected, 0)
            assert [one for one in caplog.messages if "is ignored" in one], caplog.messages

    @pytest.mark.parametrize(
        "damage",
        [
            None,
            lambda data: data[:-1],
            lambda data: data[: len(data) // 2],
            lambda data: data[:20],
            lambda data: data + b"\0",
            lambda _: b"",
            lambda _: b"GGUF" * 5000,
        ],
        ids=["gone", "short", "half", "torn", "long", "empty", "foreign"],
    )
    def test_damaged_file_is_ignored(
        self,
        loads: "Loads",
        long_prompt: list[int],
        damaged: Callable[[Callable[[bytes], bytes] | None], BakedPrompt],
        damage: Callable[[bytes], bytes] | None,
    ) -> None:
        """A file that is gone, cut short or something else changes no answer."""
        expected, _ = loads.answer([*long_prompt, long_prompt[0]])
        broken = damaged(damage)
        assert loads.answer([*long_prompt, long_prompt[0]], baked=broken) == (expected, 0)

    @pytest.fixture
    def damaged(
        self, baked: BakedPrompt, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> Iterator[Callable[[Callable[[bytes], bytes] | None], BakedPrompt]]:
        """Return a function that damages a copy; assert afterwards that a warning names it."""

        def copy(damage: Callable[[bytes], bytes] | None) -> BakedPrompt:
            path = tmp_path / "damaged.baked"
            path.unlink(missing_ok=True)  # ext4 flushes a file that is truncated and written again
            if damage:
                path.write_bytes(damage(baked.path.read_bytes()))
            return replace(baked, path=path)

        yield copy
        warnings = [
            record for record in caplog.get_records("call") if record.levelname == "WARNING"
        ]
        assert any("damaged.baked is ignored" in record.getMessage() for record in warnings)

    def test_flipped_byte_is_found_out(
        self,
        loads: "Loads",
        baked: BakedPrompt,
        long_prompt: list[int],
        damaged: Callable[[Callable[[bytes], bytes] | None], BakedPrompt],
    ) -> None:
        """With any byte changed, the file is not used."""
        size = baked.path.stat().st_size
        # The file's beginning, then a byte here and there.
        offsets = {*range(0, 32, 3), 100, *range(4000, size, max(1, size // 8)), size - 1}
        for offset in sorted(offset for offset in offsets if offset < size):

            def flip(data: bytes, offset: int = offset) -> bytes:
                return data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :]

            _, cached = loads.answer([*long_prompt, long_prompt[0]], 1, baked=damaged(flip))
            assert cached == 0, f"byte {offset}"

    def test_prompt_that_cannot_run_is_not_baked(
        self, baking_engine: BakingEngine, long_prompt: list[int], tmp_path: Path
    ) -> None:
        """An empty prompt, and one that fills the context, are refused; nothing is written."""
        baked = BakedPrompt(path=tmp_path / "model.baked", template=TEMPLATE)
        full = (long_prompt * baking_engine.facts.context_length)[
            : baking_engine.facts.context_length
        ]
        with pytest.raises(InvalidParameter):
            within(lambda: baking_engine.bake((), baked))
        with pytest.raises(ContextLengthExceeded):
            within(lambda: baking_engine.bake(tuple(full), baked))
        assert not list(tmp_path.iterdir())

    def test_file_that_cannot_be_written_is_an_os_error(
        self, baking_engine: BakingEngine, long_prompt: list[int], tmp_path: Path
    ) -> None:
        """If the folder is missing, `bake` raises, and the engine still works."""
        baked = BakedPrompt(path=tmp_path / "none" / "model.baked", template=TEMPLATE)
        with pytest.raises(OSError, match="none"):
            within(lambda: baking_engine.bake(tuple(long_prompt), baked))
        assert run(baking_engine, request_of(long_prompt, 2)).tokens

    def test_closed_engine_does_not_bake(
        self, own_engine: Engine, long_prompt: list[int], tmp_path: Path
    ) -> None:
        """After `close`, `bake` raises like `submit`."""
        within(own_engine.close)
        if isinstance(own_engine, BakingEngine):
            baked = BakedPrompt(path=tmp_path / "model.baked", template=TEMPLATE)
            with pytest.raises(EngineClosed):
                own_engine.bake(tuple(long_prompt), baked)
        assert not list(tmp_path.iterdir())

    def test_baking_among_requests(
        self, baking_engine: BakingEngine, baked: BakedPrompt, long_prompt: list[int]
    ) -> None:
        """A busy engine bakes the same file as an idle one."""
        before = baked.path.read_bytes()
        others = [submit(baking_engine, request_of(long_prompt[n:], 40)) for n in range(1, 4)]
        within(lambda: baking_engine.bake(tuple(long_prompt), baked))
        for one in others:
            one.listener.finish()
        assert len(baked.path.read_bytes()) == len(before)


class Loads:
    """Loads of one model that differ in an option."""

    def __init__(self, backend: Backend, model: ModelFacts, options: LoadOptions) -> None:
        self._backend = backend
        self._model = model
        self._options = options
        self.context_length = options.context_length or model.context_length

    def load(self, **changed: Any) -> Engine:
        """Load with the options *changed*."""
        return load(self._backend, self._model, replace(self._options, **changed))

    def answer(
        self, prompt: list[int], length: int = LENGTH, **changed: Any
    ) -> tuple[list[int], int]:
        """Load, run one greedy request, close; return its tokens and the number of cached ones."""
        engine = self.load(**changed)
        listener = run(engine, request_of(prompt, length))
        within(engine.close)
        return listener.tokens, listener.finish().usage.cached_tokens

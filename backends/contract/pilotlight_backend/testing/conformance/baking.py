"""Baking: a prompt's state in a file, taken up by a later load, or not where it does not fit."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend.errors import ContextLengthExceeded, InvalidParameter
from pilotlight_backend.protocols import Backend, BakingEngine, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import request_of, run, submit, within
from pilotlight_backend.types import BakedPrompt, LoadOptions, ModelFacts

LENGTH = 8
BAKED = 150
"""Tokens; the context of the suite has at least 256."""
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
        return (prompt * BAKED)[:BAKED]

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
        size = within(lambda: baking_engine.bake(tuple(long_prompt), baked))
        assert size == path.stat().st_size
        assert [one.name for one in path.parent.iterdir()] == [path.name], "something is left"
        return baked

    def test_first_request_starts_behind_the_baked_prompt(
        self,
        backend: Backend,
        model: ModelFacts,
        options: LoadOptions,
        baked: BakedPrompt,
        long_prompt: list[int],
        prompt: list[int],
    ) -> None:
        """A request that begins with it evaluates the rest alone, and has the same tokens."""
        whole = [*long_prompt, *prompt]
        expected, cached = first_answer(backend, model, options, whole)
        assert cached == 0
        with_baked = replace(options, baked=baked)
        assert first_answer(backend, model, with_baked, whole) == (expected, BAKED)

    def test_every_request_starts_behind_it(
        self,
        backend: Backend,
        model: ModelFacts,
        options: LoadOptions,
        baked: BakedPrompt,
        long_prompt: list[int],
        prompt: list[int],
    ) -> None:
        """So do requests that run together, and one whose slot held something else."""
        engine = backend.load(model, replace(options, baked=baked), lambda _: None)
        turns = [[*long_prompt, *prompt[start:]] for start in range(options.parallel)]
        for _ in range(2):
            for one in [submit(engine, request_of(turn, LENGTH)) for turn in turns]:
                assert one.listener.finish().usage.cached_tokens >= BAKED
            for one in [submit(engine, request_of(prompt[::-1], 2)) for _ in turns]:
                one.listener.finish()
        answers = [run(engine, request_of(turn, LENGTH)).tokens for turn in turns]
        engine.close()
        plain = backend.load(model, options, lambda _: None)
        assert answers == [run(plain, request_of(turn, LENGTH)).tokens for turn in turns]
        plain.close()

    def test_other_prompts_are_what_they_were(
        self,
        backend: Backend,
        model: ModelFacts,
        options: LoadOptions,
        baked: BakedPrompt,
        long_prompt: list[int],
        prompt: list[int],
    ) -> None:
        """A prompt that is no more than the baked one, or part of it, or another, is right too."""
        for turn in (long_prompt, long_prompt[:-20], [*long_prompt[:40], *prompt[::-1]], prompt):
            expected, _ = first_answer(backend, model, options, turn)
            tokens, cached = first_answer(backend, model, replace(options, baked=baked), turn)
            assert tokens == expected
            assert cached < len(turn)

    def test_file_that_does_not_fit_is_ignored(
        self,
        backend: Backend,
        model: ModelFacts,
        options: LoadOptions,
        baked: BakedPrompt,
        long_prompt: list[int],
        prompt: list[int],
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
    ) -> None:
        """Of another template or context, gone, cut short, or foreign: one warning, no change."""
        whole = [*long_prompt, *prompt]
        expected, _ = first_answer(backend, model, options, whole)
        shorter = (options.context_length or model.context_length) - 1
        damaged = replace(baked, path=tmp_path / "model.baked")
        cases: list[tuple[LoadOptions, Callable[[bytes], bytes] | None]] = [
            (replace(options, baked=replace(baked, template="another")), None),
            (replace(options, baked=baked, context_length=shorter), None),
            (replace(options, baked=replace(baked, path=tmp_path / "gone")), None),
            (replace(options, baked=damaged), lambda data: data[:-1]),
            (replace(options, baked=damaged), lambda data: data[: len(data) // 2]),
            (replace(options, baked=damaged), lambda data: data + b"\0"),
            (replace(options, baked=damaged), lambda _: b""),
            (replace(options, baked=damaged), lambda _: b"GGUF" * 5000),
        ]
        for with_baked, damage in cases:
            if damage:
                damaged.path.write_bytes(damage(baked.path.read_bytes()))
            caplog.clear()
            assert first_answer(backend, model, with_baked, whole) == (expected, 0)
            assert [one for one in caplog.messages if "is ignored" in one], caplog.messages

    def test_flipped_byte_is_found_out(
        self,
        backend: Backend,
        model: ModelFacts,
        options: LoadOptions,
        baked: BakedPrompt,
        long_prompt: list[int],
        prompt: list[int],
        tmp_path: Path,
    ) -> None:
        """Wherever a byte is another, the file is not used."""
        whole = [*long_prompt, *prompt]
        data = baked.path.read_bytes()
        damaged = replace(baked, path=tmp_path / "model.baked")
        # The preamble and the header's beginning; then a byte here and there.
        offsets = [*range(0, 32, 3), 100, *range(4000, len(data), max(1, len(data) // 8))]
        for offset in (*offsets, len(data) - 1):
            if offset < len(data):
                flipped = bytes([data[offset] ^ 0x10])
                damaged.path.write_bytes(data[:offset] + flipped + data[offset + 1 :])
                _, cached = first_answer(backend, model, replace(options, baked=damaged), whole, 1)
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
        """Where the folder is missing, `bake` says so, and the engine goes on."""
        baked = BakedPrompt(path=tmp_path / "none" / "model.baked", template=TEMPLATE)
        with pytest.raises(OSError, match="none"):
            within(lambda: baking_engine.bake(tuple(long_prompt), baked))
        assert run(baking_engine, request_of(long_prompt, 2)).tokens

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


def first_answer(
    backend: Backend,
    model: ModelFacts,
    options: LoadOptions,
    prompt: list[int],
    length: int = LENGTH,
) -> tuple[list[int], int]:
    """Load, ask once greedily, and close; return the tokens, and how many were cached."""
    engine = within(lambda: backend.load(model, options, lambda _: None))
    listener = run(engine, request_of(prompt, length))
    engine.close()
    return listener.tokens, listener.finish().usage.cached_tokens

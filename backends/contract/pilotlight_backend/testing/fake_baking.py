"""Baked prompts of the fake: the file is a real one, and its state says nothing."""

import zlib

from pilotlight_backend.baking import Origin, open_baked, write_baked
from pilotlight_backend.errors import EngineClosed
from pilotlight_backend.testing.fake_engine import FakeEngine
from pilotlight_backend.types import BakedPrompt, GenerateRequest, LoadOptions, ModelFacts
from pilotlight_backend.validation import check_request

_STATE_BYTES = 8  # a token


class FakeBakingEngine(FakeEngine):
    """A fake engine that bakes."""

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Write the file; see `BakingEngine.bake`."""
        check_request(
            GenerateRequest(prompt=prompt, max_tokens=1),
            context_length=self.facts.context_length,
            vocabulary_size=self._tokenizer.size,
            sampling=self._facts.sampling,
        )
        if self.closed.is_set():
            raise EngineClosed("the engine is closed")
        state = memoryview(bytes(_STATE_BYTES * len(prompt)))
        write_baked(baked.path, _origin(self.facts, self.options, baked), prompt, state)
        return len(prompt)


def baked_tokens(facts: ModelFacts, options: LoadOptions) -> tuple[int, ...]:
    """Return the tokens of the prompt that *options* bring; none where it does not fit."""
    if options.baked is None:
        return ()
    mapped = open_baked(options.baked, _origin(facts, options, options.baked))
    if mapped is None:
        return ()
    with mapped:
        return mapped.tokens


def _origin(facts: ModelFacts, options: LoadOptions, baked: BakedPrompt) -> Origin:
    return Origin(
        backend="fake",
        build="1",
        model=f"{zlib.crc32(facts.path.read_bytes()):08x}",
        template=baked.template,
        settings={"context_length": facts.context_length, "parallel": options.parallel},
    )

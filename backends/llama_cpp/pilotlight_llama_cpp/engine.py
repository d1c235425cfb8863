"""The engine of a model that generates."""

import math
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from pilotlight_backend import (
    BakedPrompt,
    BakingRefused,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    LoadOptions,
    ModelFacts,
    Ticket,
    Vocabulary,
)
from pilotlight_backend.baking import write_baked
from pilotlight_backend.validation import check_request
from pilotlight_backend.verbatim import Span, parts
from pilotlight_llama_cpp.baking import StateOfPrompt, origin, whole_tiles
from pilotlight_llama_cpp.generation_thread import GenerationJob, GenerationThread
from pilotlight_llama_cpp.growing_context import GrowingContext
from pilotlight_llama_cpp.model import LlamaModel


class LlamaCppEngine:
    """Checks requests and submits them to its thread."""

    def __init__(
        self,
        facts: ModelFacts,
        model: LlamaModel,
        context: GrowingContext,
        options: LoadOptions,
        baked: tuple[int, ...],
    ) -> None:
        """*baked* is the prompt that *context* has adopted; empty without one."""
        self._facts = facts
        self._model = model
        self._context = context
        self._options = options
        self._kv_capacity = options.parallel * facts.context_length
        self._thread = GenerationThread(
            context,
            slots=options.parallel,
            chunk=options.chunk,
            baked=baked,
            # A recurrent state cannot go back to the last token that two prompts share, so with
            # such models each sequence prefills its whole prompt.
            copies=model.cuttable_cache,
            cuts=model.cuttable_cache,
        )
        self._thread.start(facts.path.name)

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become ids."""
        if not (special and verbatim):
            return self._model.tokenize(text, special=special)
        return self._model.tokenize_parts(parts(text, verbatim))

    def vocabulary(self) -> Vocabulary:
        """Return every token."""
        return self._model.vocabulary()

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* is called on the engine's thread."""
        job = self._job(request, emit)
        self._thread.submit(job)
        return job

    def _job(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> GenerationJob:
        check_request(
            request,
            context_length=self._facts.context_length,
            vocabulary_size=self._model.vocabulary_size,
            sampling=self._facts.sampling,
        )
        if request.ignore_eos and request.guide is None:
            # A bias in the sampler chain costs less than a change to each row of logits.
            request = _without(self._model.ends, request)
        room = self._facts.context_length - len(request.prompt)
        limit = min(request.max_tokens, room)
        return GenerationJob(self._thread, request, emit, limit, self._model.ends)

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Prefill *prompt* as a request does, and write the state of its slot to a file.

        The last few tokens may be left out, see `baking.whole_tiles`. A prefix that a slot already
        holds is not prefilled again.
        """
        if not self._model.plain_cache:
            raise BakingRefused(
                f"{self._facts.path.name}: prompts of this model cannot be baked: its cache holds a"
                " sliding window or a recurrent state"
            )
        prompt = whole_tiles(prompt)
        baking = StateOfPrompt(prompt, self._context.save)
        baking.job = self._job(baking.request, baking)
        self._thread.submit(baking.job)
        state = baking.wait()
        made_of = origin(self._model, self._facts, self._options, baked.template)
        write_baked(baked.path, made_of, prompt, state)
        return len(prompt)

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._thread.stats(kv_capacity=self._kv_capacity)

    def close(self) -> None:
        """Fail every request and free all memory; waits, except on the engine's own thread."""
        self._thread.close()


def _without(tokens: Iterable[int], request: GenerateRequest) -> GenerateRequest:
    """Return *request* with a bias that excludes *tokens*."""
    bias = {**request.sampling.logit_bias, **dict.fromkeys(tokens, -math.inf)}
    return replace(request, ignore_eos=False, sampling=replace(request.sampling, logit_bias=bias))

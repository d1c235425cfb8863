"""The engine of a model that generates."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from pilotlight_backend import (
    BakedPrompt,
    BakingRefused,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    Image,
    InvalidParameter,
    LoadOptions,
    ModelFacts,
    Ticket,
    Vocabulary,
)
from pilotlight_backend.baking import write_baked
from pilotlight_backend.forcing import Forcing
from pilotlight_backend.prompt_cache import PromptCache, open_cache
from pilotlight_backend.spelling import Spelling
from pilotlight_backend.validation import NO_IMAGES, check_request, token_ids
from pilotlight_backend.verbatim import Span, parts
from pilotlight_llama_cpp.adapters import LoadedAdapters
from pilotlight_llama_cpp.baking import StateOfPrompt, origin, whole_tiles
from pilotlight_llama_cpp.branches import MOST, branches
from pilotlight_llama_cpp.draft_model import DraftModel
from pilotlight_llama_cpp.drafting import Drafter
from pilotlight_llama_cpp.encoder import Encoder
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.generation_thread import GenerationThread
from pilotlight_llama_cpp.growing_context import GrowingContext
from pilotlight_llama_cpp.media import EnginePrompt, cells, expand, floor, length
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.projector import Projector
from pilotlight_llama_cpp.prompt_states import PromptStates
from pilotlight_llama_cpp.scheduler import Scheduler
from pilotlight_llama_cpp.speculation import drafted_rows, no_speculation

logger = logging.getLogger("pilotlight.llama_cpp")

_SECONDS_PER_BYTE = 1.5e-11
"""What a token of a prompt takes for each byte of weights, until it is measured: 10 ms for 0.6 GB
on one thread of a CPU with AVX-512. It says how long a stored state is worth waiting for."""

_WINDOWS = 3
"""Checkpoints of a slot whose model has a sliding window; each is as large as the window."""


class LlamaCppEngine:
    """Checks requests and submits them to its thread."""

    def __init__(
        self,
        facts: ModelFacts,
        model: LlamaModel,
        context: GrowingContext,
        options: LoadOptions,
        *,
        baked: tuple[int, ...] = (),
        identity: str = "",
        projector: Projector | None = None,
        draft_model: DraftModel | None = None,
    ) -> None:
        """*baked* is the prompt that *context* has adopted.

        *identity* is the `state_identity` of the prompt cache. *projector* is that of a model that
        sees.
        """
        self._facts = facts
        self._model = model
        self._spelling: Spelling | None = None
        self._context = context
        self._options = options
        self._control = frozenset(model.control)
        self._drafted_rows = self._speculate()
        self._kv_capacity = options.parallel * facts.context_length
        self._projector = projector
        self._thread = self._make_thread(baked, draft_model)
        self._see(projector)
        self._adapters = self._adapt()
        self._cache = self._keep(identity)
        self._thread.start(facts.path.name)

    def _make_thread(
        self, baked: tuple[int, ...], draft_model: DraftModel | None
    ) -> GenerationThread:
        options, model = self._options, self._model
        scheduler: Scheduler[GenerationJob] = Scheduler(
            slots=options.parallel,
            chunk=options.chunk,
            baked=baked,
            copies=True,
            cuts=model.cuttable_cache,
            deterministic=options.deterministic,
            unified=options.kv_unified,
            whole_images=self._projector is not None and not self._projector.is_causal,
        )
        return GenerationThread(
            self._context,
            scheduler,
            draft_max=self._drafted_rows,
            draft_model=draft_model,
            seconds_per_token=self._facts.size_bytes * _SECONDS_PER_BYTE,
            most_checkpoints=_WINDOWS if model.cuttable_cache else MOST,
        )

    def _speculate(self) -> int:
        """Return how many tokens a step can draft."""
        options, model = self._options, self._model
        if options.speculation != "none" and (reason := no_speculation(options, model)):
            logger.warning("%s: speculation is off: %s", self._facts.path.name, reason)
        return drafted_rows(options, model)

    def _drafter(self) -> Drafter | None:
        """Return what drafts the tokens of one sequence from its own."""
        if self._drafted_rows and self._options.speculation == "ngram":
            return Drafter(self._options.ngram_min)
        return None

    def _see(self, projector: Projector | None) -> None:
        """Have images encoded, for a model that sees."""
        if projector is not None:
            self._thread.see(Encoder(projector, self._thread.wake))

    def _adapt(self) -> LoadedAdapters:
        """Return the adapters, none yet."""
        adapters = LoadedAdapters(
            self._model,
            self._facts.path,
            between_steps=self._thread.between_steps.call,
            used=self._thread.used_adapters,
            detach=self._context.detach,
        )
        self._thread.adapt(adapters)
        return adapters

    def _keep(self, identity: str) -> PromptCache | None:
        """Open the prompt cache, if there is to be one."""
        cache = open_cache(self._options.prompt_cache, identity, on_written=self._thread.written)
        if cache is not None:
            # Of a cache that is not plain a state is of use at its end, and at its checkpoints.
            plain = self._model.plain_cache
            self._thread.keep(
                PromptStates(cache, self._context, least=lambda length: 1 if plain else length)
            )
        return cache

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
        """Return every token. From then on, guides force tokens."""
        vocabulary = self._model.vocabulary()
        if self._spelling is None:  # guides are made of a vocabulary: none comes before
            self._spelling = Spelling(vocabulary, partial(self._model.tokenize, special=True))
        return vocabulary

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* is called on the engine's thread."""
        with self._adapters.known() as adapters:
            job = self._job(request, emit, adapters)
            self._thread.submit(job)
        return job

    def image_tokens(self, width: int, height: int) -> int:
        """Return how many tokens an image of that size takes in a prompt."""
        if self._projector is None:
            raise InvalidParameter("prompt", NO_IMAGES)
        return length(self._projector.layout(width, height))

    def _tokens_of(self, image: Image) -> int:
        return self.image_tokens(image.width, image.height)

    def _expand(self, request: GenerateRequest) -> EnginePrompt:
        """Return the prompt of *request* as the cache has it."""
        projector = self._projector
        if projector is None or Image not in map(type, request.prompt):
            return EnginePrompt(tuple(token_ids(request.prompt)))
        prompt = expand(request.prompt, lambda image: projector.layout(image.width, image.height))
        if not projector.is_causal:
            self._check_batch(prompt, projector)
        return prompt

    def _check_batch(self, prompt: EnginePrompt, projector: Projector) -> None:
        """Raise `InvalidParameter` for an image that is larger than a batch.

        llama.cpp would abort the process (`n_ubatch >= n_tokens` in llama-context.cpp).
        """
        most = max(self._options.chunk, projector.most_rows)
        for span in prompt.spans:
            if span.patch.rows > most:
                size = f"{span.image.width} x {span.image.height}"
                raise InvalidParameter(
                    "prompt",
                    f"an image of {size} pixels takes {span.patch.rows} tokens; this model"
                    f" evaluates an image in one step of at most {most}",
                )

    def _job(
        self,
        request: GenerateRequest,
        emit: Callable[[EngineEvent], None],
        adapters: Collection[str] = (),
    ) -> GenerationJob:
        check_request(
            request,
            context_length=self._facts.context_length,
            vocabulary_size=self._model.vocabulary_size,
            sampling=self._facts.sampling,
            image_tokens=None if self._projector is None else self._tokens_of,
            adapters=adapters,
        )
        prompt = self._expand(request)
        if request.ignore_eos and request.guide is None:
            # A bias in the sampler chain costs less than a change to each row of logits.
            request = _without(self._model.ends, request)
        room = self._facts.context_length - cells(prompt.spans, len(prompt.tokens))
        limit = min(request.max_tokens, room)
        return GenerationJob(
            self._thread,
            request,
            emit,
            limit,
            prompt=prompt,
            ends=self._model.ends,
            branches=self._branches(request, prompt),
            forcing=Forcing.of(request, self._spelling, self._model.suppressed),
            drafter=self._drafter(),
        )

    def _branches(self, request: GenerateRequest, prompt: EnginePrompt) -> tuple[int, ...]:
        """Return where checkpoints are taken in the prompt."""
        model, shares = self._model, request.shares_prompt
        found: tuple[int, ...] = ()
        if not model.cuttable_cache:
            found = branches(prompt.tokens, self._control, shares_prompt=shares)
        elif model.sliding_window and self._cache is not None:
            # In its slot a window can be cut back. Of a saved one there is the end alone, and the
            # template may write the completion otherwise. Other conversations begin with the
            # system prompt.
            turns = branches(prompt.tokens, self._control)
            found = (*turns[:1], *turns[-1:])
        return tuple(sorted({floor(prompt.spans, one) for one in found} - {0}))

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

    def load_adapter(self, path: Path) -> str:
        """Load a LoRA adapter over the weights; see `AdaptingEngine.load_adapter`."""
        return self._adapters.load(path)

    def unload_adapter(self, adapter: str) -> None:
        """Undo a load; see `AdaptingEngine.unload_adapter`."""
        self._adapters.unload(adapter)

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        stats = self._thread.stats(kv_capacity=self._kv_capacity)
        return stats if self._cache is None else replace(stats, prompt_cache=self._cache.stats())

    def save_prompts(self, seconds: float) -> None:
        """Write what idle slots hold to storage, for so many *seconds* at the most."""
        if self._cache is not None and self._cache.stores:
            deadline = time.monotonic() + seconds
            self._thread.flush(seconds)
            self._cache.wait(max(0.0, deadline - time.monotonic()))

    def clear_prompts(self, owner: str | None = None) -> None:
        """Forget every prompt, or those of *owner*: in slots, in memory and in storage."""
        self._thread.forget(owner)

    def close(self) -> None:
        """Fail every request and free all memory; waits, except on the engine's own thread."""
        self._thread.close()
        if self._cache is not None:
            self._cache.close()


def _without(tokens: Iterable[int], request: GenerateRequest) -> GenerateRequest:
    """Return *request* with a bias that excludes *tokens*."""
    bias = {**request.sampling.logit_bias, **dict.fromkeys(tokens, -math.inf)}
    return replace(request, ignore_eos=False, sampling=replace(request.sampling, logit_bias=bias))

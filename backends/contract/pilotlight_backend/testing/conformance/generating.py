"""Generating: events, lengths, stops, sampling and reuse, one request at a time or together."""
# ruff: noqa: S101 - the suite asserts

import math
import threading
from typing import Any

from msgspec.structs import replace

from pilotlight_backend.protocols import Backend, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import (
    DEADLINE,
    Listener,
    check_order,
    eventually,
    request_of,
    run,
    submit,
)
from pilotlight_backend.types import (
    EngineEvent,
    LoadOptions,
    ModelFacts,
    SamplingParams,
    Started,
    Token,
)

LENGTH = 8
LONG = 100
CONCURRENT = 8
LIKELIEST = 3
OUT_OF_NEUTRAL: dict[str, dict[str, Any]] = {
    "top_n_sigma": {"top_n_sigma": 1.5},
    "typical_p": {"typical_p": 0.7},
    "xtc_probability": {"xtc_probability": 0.5},
    "xtc_threshold": {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    "dynatemp_range": {"dynatemp_range": 0.5},
    "dynatemp_exponent": {"dynatemp_range": 0.5, "dynatemp_exponent": 2.0},
    "repeat_penalty": {"repeat_penalty": 1.2},
    "repeat_last_n": {"repeat_penalty": 1.2, "repeat_last_n": -1},
    "mirostat": {"mirostat": 2},
    "mirostat_tau": {"mirostat": 1, "mirostat_tau": 3.0},
    "mirostat_eta": {"mirostat": 2, "mirostat_eta": 0.3},
    "dry_multiplier": {"dry_multiplier": 0.8},
    "dry_base": {"dry_multiplier": 0.8, "dry_base": 2.5},
    "dry_allowed_length": {"dry_multiplier": 0.8, "dry_allowed_length": 1},
    "dry_penalty_last_n": {"dry_multiplier": 0.8, "dry_penalty_last_n": -1},
    "dry_sequence_breakers": {"dry_multiplier": 0.8, "dry_sequence_breakers": ("é", "</x>")},
}
"""A value with an effect for each field of `SamplingParams` that a backend may refuse."""
SEEDED = SamplingParams(temperature=1.0, top_p=0.95, top_k=64, seed=42)


class GenerateConformance(ConformanceFixtures):
    """`Engine.submit`, for requests that run to their end."""

    def test_events_come_in_order_on_the_engines_thread(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """A request emits a start, tokens and one end, all on one thread of the engine's."""
        listener = run(engine, request_of(prompt, LENGTH))
        assert isinstance(listener.events[0], Started)
        assert listener.events[0].prompt_tokens == len(prompt)
        assert len(listener.threads) == 1
        assert threading.get_ident() not in listener.threads

    def test_nothing_comes_after_the_end(self, engine: Engine, prompt: list[int]) -> None:
        """A request that has ended stays silent while another one runs."""
        first = run(engine, request_of(prompt, 2))
        count = len(first.events)
        run(engine, request_of(prompt, LENGTH))
        assert len(first.events) == count
        check_order(first.events)

    def test_submit_does_not_wait_for_the_engine(self, engine: Engine, prompt: list[int]) -> None:
        """While the engine is busy, `submit` and `stats` return at once."""
        busy = submit(engine, request_of(prompt, LONG), slow=True)
        busy.listener.wait_tokens()
        second = submit(engine, request_of(prompt, 1))
        stats = engine.stats()
        assert stats.slots_busy >= 1
        assert 0 < stats.kv_tokens_running <= stats.kv_tokens
        assert len(busy.listener.tokens) < LONG // 2
        busy.listener.hurry()
        busy.listener.finish()
        second.listener.finish()

    def test_token_has_an_id_and_bytes(self, engine: Engine, prompt: list[int]) -> None:
        """Every token has an id of the vocabulary, and bytes, of which it may have none."""
        for event in run(engine, request_of(prompt, LENGTH)).events:
            if isinstance(event, Token):
                assert event.id >= 0
                assert isinstance(event.piece, bytes)

    def test_max_tokens_is_exact(self, engine: Engine, prompt: list[int]) -> None:
        """A request ends after exactly `max_tokens` tokens, with reason `length`."""
        for count in (1, 2, 17):
            listener = run(engine, request_of(prompt, count))
            finish = listener.finish()
            assert finish.reason == "length"
            assert len(listener.tokens) == finish.usage.completion_tokens == count

    def test_usage_and_timings_add_up(self, engine: Engine, prompt: list[int]) -> None:
        """The last event has the prompt's tokens, the cached ones, and plausible times."""
        listener = run(engine, request_of(prompt, LENGTH))
        finish = listener.finish()
        assert finish.usage.prompt_tokens == len(prompt)
        assert 0 <= finish.usage.cached_tokens < len(prompt)
        assert isinstance(listener.events[0], Started)
        assert finish.usage.cached_tokens == listener.events[0].cached_tokens
        for seconds in (finish.timings.queue, finish.timings.prefill, finish.timings.decode):
            assert math.isfinite(seconds)
            assert seconds >= 0

    def test_ignored_ends_are_never_chosen(self, engine: Engine, prompt: list[int]) -> None:
        """With `ignore_eos` no token ends the answer, however likely it is."""
        ends = engine.vocabulary().ends
        likely = SamplingParams(temperature=0.0, logit_bias=dict.fromkeys(ends, 100.0))
        listener = run(engine, request_of(prompt, LENGTH, sampling=likely))
        assert listener.finish().reason == "length"
        assert not ends.intersection(listener.tokens)

    def test_no_end_and_no_stop_before_min_tokens(self, engine: Engine, prompt: list[int]) -> None:
        """Neither an end nor a stop token is chosen before so many tokens have come."""
        first = run(engine, request_of(prompt, 1)).tokens[0]
        stops = frozenset({first})
        likely = SamplingParams(
            temperature=0.0, logit_bias=dict.fromkeys(engine.vocabulary().ends, 100.0)
        )
        for sampling in (SamplingParams(temperature=0.0), likely):
            listener = run(
                engine,
                request_of(
                    prompt,
                    LENGTH,
                    sampling=sampling,
                    ignore_eos=False,
                    min_tokens=LENGTH - 2,
                    stop_token_ids=stops,
                ),
            )
            listener.finish()
            assert len(listener.tokens) >= LENGTH - 2
            assert first not in listener.tokens[: LENGTH - 2]

    def test_what_is_honoured_runs_and_repeats(self, engine: Engine, prompt: list[int]) -> None:
        """Each field that the engine honours is accepted, and a seed repeats the tokens."""
        for name in sorted(engine.facts.sampling & OUT_OF_NEUTRAL.keys()):
            sampling = replace(SEEDED, **OUT_OF_NEUTRAL[name])
            first, second = (
                run(engine, request_of(prompt, LENGTH, sampling=sampling)).tokens for _ in range(2)
            )
            assert first == second, name

    def test_context_end_is_a_length(self, engine: Engine, prompt: list[int]) -> None:
        """A request without a limit fills the context and ends with reason `length`."""
        context_length = engine.facts.context_length
        finish = run(engine, request_of(prompt, context_length * 2)).finish()
        assert finish.reason == "length"
        assert finish.usage.prompt_tokens + finish.usage.completion_tokens == context_length

    def test_prompt_may_fill_the_context_but_for_one(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """A prompt that leaves room for one token is answered with one token."""
        context_length = engine.facts.context_length
        filled = (prompt * context_length)[: context_length - 1]
        finish = run(engine, request_of(filled, LENGTH)).finish()
        assert (finish.reason, finish.usage.completion_tokens) == ("length", 1)

    def test_stop_token_ends_the_request_unseen(self, engine: Engine, prompt: list[int]) -> None:
        """A stop token ends the request with reason `stop`: counted, and not emitted."""
        tokens = run(engine, request_of(prompt, LENGTH)).tokens
        stop = max(tokens, key=tokens.index)  # the one that comes up for the first time last
        stopped = run(engine, request_of(prompt, LENGTH, stop_token_ids=frozenset({stop})))
        finish = stopped.finish()
        assert finish.reason == "stop"
        assert stopped.tokens == tokens[: tokens.index(stop)]
        assert finish.usage.completion_tokens == len(stopped.tokens) + 1

    def test_answer_that_ends_itself_has_reason_stop(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """Without `ignore_eos` a request ends by itself or by its length, and counts its end."""
        listener = run(engine, request_of(prompt, LONG, ignore_eos=False))
        finish = listener.finish()
        ending = {"stop": 1, "length": 0}[finish.reason]
        assert finish.usage.completion_tokens == len(listener.tokens) + ending

    def test_greedy_is_repeatable(self, engine: Engine, prompt: list[int]) -> None:
        """The same greedy request has the same tokens again, its prompt reused or not."""
        first = run(engine, request_of(prompt, LENGTH)).tokens
        assert run(engine, request_of(prompt, LENGTH)).tokens == first

    def test_greedy_ignores_the_other_stages(self, engine: Engine, prompt: list[int]) -> None:
        """At temperature 0 neither the seed nor a filter changes the tokens."""
        sampling = SamplingParams(temperature=0.0, top_k=5, top_p=0.5, min_p=0.1, seed=7)
        first = run(engine, request_of(prompt, LENGTH)).tokens
        assert run(engine, request_of(prompt, LENGTH, sampling=sampling)).tokens == first

    def test_greedy_is_the_same_in_company(self, engine: Engine, prompt: list[int]) -> None:
        """A greedy request has the same tokens alone and among seven others."""
        alone = run(engine, request_of(prompt, LENGTH)).tokens
        together = [submit(engine, request_of(prompt, LENGTH)) for _ in range(CONCURRENT)]
        for one in together:
            one.listener.finish()
            assert one.listener.tokens == alone

    def test_neighbours_do_not_mix(self, engine: Engine, prompt: list[int]) -> None:
        """Different requests that run together have the tokens that each has alone."""
        prompts = [prompt[: len(prompt) - drop] for drop in range(min(4, len(prompt)))]
        alone = [run(engine, request_of(one, LENGTH)).tokens for one in prompts]
        together = [submit(engine, request_of(one, LENGTH)) for one in prompts]
        for one in together:
            one.listener.finish()
        assert [one.listener.tokens for one in together] == alone

    def test_seed_is_repeatable(self, engine: Engine, prompt: list[int]) -> None:
        """A request with a seed has the same tokens again."""
        first = run(engine, request_of(prompt, LENGTH, sampling=SEEDED)).tokens
        assert run(engine, request_of(prompt, LENGTH, sampling=SEEDED)).tokens == first

    def test_seed_is_the_requests_own(self, engine: Engine, prompt: list[int]) -> None:
        """A request with a seed has the same tokens among others that draw numbers too."""
        alone = run(engine, request_of(prompt, LENGTH, sampling=SEEDED)).tokens
        seedless = SamplingParams(temperature=1.0)
        others = [submit(engine, request_of(prompt, LENGTH, sampling=seedless)) for _ in range(2)]
        assert run(engine, request_of(prompt, LENGTH, sampling=SEEDED)).tokens == alone
        for one in others:
            one.listener.finish()

    def test_reuse_changes_no_token(
        self, backend: Backend, model: ModelFacts, options: LoadOptions, prompt: list[int]
    ) -> None:
        """A prompt has the same tokens after one that shares its start as on a new engine.

        How much is reused is the backend's affair; the last token of a prompt never is.
        """
        used = load(backend, model, options)
        longer = [*prompt, *run(used, request_of(prompt, LENGTH)).tokens]
        for turn in (longer, prompt, [*prompt[:-2], prompt[0], *prompt], longer):
            request = request_of(turn, LENGTH)
            reused = run(used, request)
            assert reused.finish().usage.cached_tokens < len(turn)
            new = load(backend, model, options)
            assert reused.tokens == run(new, request).tokens
            new.close()
        used.close()

    def test_logprobs_come_where_they_are_asked_for(
        self, engine: Engine, prompt: list[int]
    ) -> None:
        """Each token has its own log probability and the likeliest ones'.

        Greedy: the first, but for the ends, which are not chosen here.
        """
        ends = engine.vocabulary().ends
        request = replace(request_of(prompt, LENGTH), logprobs=LIKELIEST)
        for token in run(engine, request).events:
            if isinstance(token, Token):
                found = [one.logprob for one in token.candidates]
                assert len(found) == LIKELIEST
                assert found == sorted(found, reverse=True)
                likeliest = next(one for one in token.candidates if one.id not in ends)
                assert token.id == likeliest.id
                assert token.logprob == likeliest.logprob <= 0
                assert sum(map(math.exp, found)) <= 1 + 1e-3

    def test_logprobs_change_no_token(self, engine: Engine, prompt: list[int]) -> None:
        """Requesting them changes no token; `logprobs` 0 returns the sampled token's own."""
        plain = run(engine, request_of(prompt, LENGTH, sampling=SEEDED))
        request = replace(request_of(prompt, LENGTH, sampling=SEEDED), logprobs=0)
        asked = run(engine, request)
        assert asked.tokens == plain.tokens
        for listener, has in ((plain, False), (asked, True)):
            tokens = [event for event in listener.events if isinstance(event, Token)]
            assert all((token.logprob is not None) is has for token in tokens)
            assert not any(token.candidates for token in tokens)

    def test_emit_that_raises_harms_nobody_else(self, engine: Engine, prompt: list[int]) -> None:
        """If `emit` raises, at any event, the engine still works and the slot is freed."""
        expected = run(engine, request_of(prompt, LENGTH)).tokens
        for kind in ("Started", "Token", "Finish"):
            emit = RaisingEmit(kind)
            engine.submit(request_of(prompt, LENGTH), emit)
            assert emit.raised.wait(DEADLINE)
            assert run(engine, request_of(prompt, LENGTH)).tokens == expected
        assert eventually(lambda: engine.stats().slots_busy == 0)

    def test_stats_add_up(self, engine: Engine, prompt: list[int], options: LoadOptions) -> None:
        """The statistics agree with each other and with the usage of requests."""
        assert eventually(lambda: engine.stats().slots_busy == 0)
        before = engine.stats()
        usage = run(engine, request_of(prompt, LENGTH)).finish().usage
        assert eventually(
            lambda: (
                engine.stats().completion_tokens - before.completion_tokens
                == usage.completion_tokens
            )
        )
        after = engine.stats()
        assert after.slots == options.parallel
        assert after.queued == 0
        assert after.prompt_tokens - before.prompt_tokens == len(prompt) - usage.cached_tokens
        assert after.cached_tokens - before.cached_tokens == usage.cached_tokens
        assert after.steps > before.steps
        assert 0 <= after.kv_tokens <= after.kv_capacity
        assert eventually(lambda: engine.stats().kv_tokens_running == 0)
        assert after.kv_capacity >= engine.facts.context_length


class RaisingEmit(Listener):
    """A listener that raises at the first event of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.raised = threading.Event()
        self._kind = kind

    def __call__(self, event: EngineEvent) -> None:
        """Raise at the event."""
        if type(event).__name__ == self._kind and not self.raised.is_set():
            self.raised.set()
            raise RuntimeError(f"this listener takes no {self._kind}")

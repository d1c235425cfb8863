"""Which prompts are evaluated next, and whether running streams get a token first. Pure.

With a KV stream for each slot llama.cpp computes prompts and decoding streams in passes of their
own, also if they are in one batch (`ubatches`). So a step usually has either, and a prompt's first
token is sampled as soon as its prefill ends: not after the prompts beside it, nor the streams.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pilotlight_llama_cpp import ubatches
from pilotlight_llama_cpp.ubatches import Part

_LAST_TOKENS = 6
"""What a second until a last token counts, in seconds until a first one: whatever comes later waits
for the same steps. With 1 and prompts of 90 tokens, sixteen streams took eight passes for them in
the place of four, 1.6 % of the tokens a second; the last first token came 5 % later, the mean 10 %
sooner."""


class Batching(NamedTuple):
    """How batches are computed."""

    chunk: int
    """The most prompt tokens that a running stream waits for."""
    most: int
    """`n_ubatch`, and `n_batch`."""
    unified: bool = False
    deterministic: bool = False
    slowdown: int = 1
    """How many times as long prompts take as they do alone: 2 while an image is encoded on half of
    the cores. A token of a prompt counts as so many of a chunk."""


class Plan(NamedTuple):
    """What goes into a step."""

    decodes: bool
    """Whether a token of each running stream is evaluated."""
    prompts: int
    """How many prompts are evaluated, the first ones."""


def plan(
    streams: Sequence[Part], prompts: Sequence[Part], batching: Batching, *, waited: int
) -> Plan:
    """Return the next step of *streams* and *prompts*, each of these with its next chunk.

    *waited* is the prompt tokens that were evaluated since the streams decoded: they wait for a
    chunk at the most, or for one run that cannot be cut, such as an image. In one batch with
    prompts they decode only if that saves a pass, as with prompts of one token, or in a unified
    cache.
    """
    if not prompts:
        return Plan(decodes=True, prompts=0)
    count = together(prompts, batching, streams=len(streams))
    if not streams:
        return Plan(decodes=False, prompts=count)
    chosen = prompts[:count]
    if waited and waited + _tokens(chosen) * batching.slowdown > batching.chunk:
        return Plan(decodes=True, prompts=0)
    apart = _cost(streams, batching) + _cost(chosen, batching)
    fits = _tokens(streams) + _tokens(chosen) <= batching.most
    saves = fits and _cost([*streams, *chosen], batching) < apart and not batching.deterministic
    return Plan(decodes=saves, prompts=count)


def together(prompts: Sequence[Part], batching: Batching, *, streams: int = 0) -> int:
    """Return how many of the first *prompts* to evaluate in one step, beside so many *streams*.

    One after the other, each has its first token early; together they save passes, for which all
    wait. The least is chosen of the sum of all times until first tokens and, with more weight,
    until last ones, over all ways to divide *prompts* in their order. A deterministic prompt is
    computed alone.
    """
    if batching.deterministic:
        return 1
    count = len(prompts)
    least = [0] * (count + 1)
    """The sum of the times, from the step that begins with this prompt on."""
    end = count
    for start in reversed(range(count)):
        # For the step wait the first tokens of the prompts that are left, and all last tokens.
        waiting = (count - start) + _LAST_TOKENS * (count + streams)
        least[start], end = min(
            (waiting * _cost(prompts[start:stop], batching) + least[stop], stop)
            for stop in _stops(prompts, start, batching.chunk // batching.slowdown)
        )
    return end


def _stops(prompts: Sequence[Part], start: int, chunk: int) -> list[int]:
    """Return where a step that begins with the prompt *start* can end: within a chunk."""
    stops = [start + 1]
    tokens = prompts[start].tokens
    for stop in range(start + 2, len(prompts) + 1):
        tokens += prompts[stop - 1].tokens
        if tokens > chunk:
            break
        stops.append(stop)
    return stops


def _tokens(parts: Sequence[Part]) -> int:
    return sum(part.tokens for part in parts)


def _cost(parts: Sequence[Part], batching: Batching) -> int:
    return ubatches.cost(sorted(parts), most=batching.most, unified=batching.unified)

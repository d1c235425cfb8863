"""Conversations played through a scheduler, over a cache that copies when llama.cpp does."""

from dataclasses import dataclass, field

from pilotlight_llama_cpp.scheduler import Scheduler
from pilotlight_llama_cpp.sequence import Sequence

BEGIN = (1, 2, 3)
"""What a template begins every conversation with."""
GENERATE = (4, 5, 6)
"""The end of the turn, and the start of the assistant's."""
NO_REASONING = (7, 8, 9, 10)
"""Written at the end of a prompt, and not in the history."""


class Cache:
    """What the slots really hold. A copy is made at the beginning of the next step."""

    def __init__(self, slots):
        self.held = [[] for _ in range(slots)]
        self._copies = []

    def prepare(self, sequence):
        slot, length = sequence.slot.id, sequence.cached_tokens
        if sequence.offer.copied_from is None:
            assert length <= len(self.held[slot])
            del self.held[slot][length:]
        else:
            self._copies.append((sequence.offer.copied_from, slot, length))

    def evaluate(self, parts):
        for source, target, length in self._copies:
            assert length <= len(self.held[source]), "the source was overwritten"
            self.held[target] = self.held[source][:length]
        self._copies.clear()
        for part in parts:
            held = self.held[part.slot]
            assert len(held) == part.start
            held.extend(part.tokens)
            whole = (*part.sequence.prompt, *part.sequence.answer)
            assert tuple(held) == whole[: len(held)], "another sequence's tokens"


class Request(Sequence):
    """A sequence whose answer is known beforehand."""

    def __init__(self, prompt, answer, **options):
        super().__init__(prompt, len(answer), **options)
        self.answer = answer


class Player:
    """Steps a scheduler, and checks at each step that the cache holds what the plan believes."""

    def __init__(self, *, slots, copies=True, cuts=True, chunk=64):
        self.scheduler = Scheduler(slots=slots, chunk=chunk, copies=copies, cuts=cuts)
        self.cache = Cache(slots)
        self.evaluated = 0

    def start(self, prompt, answer, **options):
        request = Request(tuple(prompt), tuple(answer), **options)
        self.scheduler.admission.enqueue(request)
        return request

    def step(self):
        for sequence in self.scheduler.admission.admit():
            self.cache.prepare(sequence)
        parts = self.scheduler.plan()
        assert parts, "nothing is evaluated while there is work"
        self.cache.evaluate(parts)
        for part in parts:
            self.evaluated += len(part.tokens)
            part.record()
            if part.sampled:
                sequence = part.sequence
                sequence.chosen(sequence.answer[sequence.completion_tokens])
                if sequence.completion_tokens == sequence.limit:
                    self.scheduler.admission.release(sequence)

    def finish(self):
        while self.scheduler.admission.has_work:
            self.step()

    def ask(self, prompt, answer):
        """Play one request to its end; return the cached tokens of its prompt."""
        request = self.start(prompt, answer)
        self.finish()
        return request.cached_tokens


@dataclass
class Conversation:
    """A user's turns, each token of which no other conversation has."""

    number: int
    system: tuple[int, ...] = ()
    reasoning: int = 0
    """Tokens at the beginning of each answer that are not in the history."""
    no_reasoning: bool = False
    history: list[int] = field(default_factory=list)
    written: int = 0
    last: tuple[int, ...] = ()
    """The tokens in its slot after its last turn, unless the slot was taken."""

    def __post_init__(self):
        self.history = [*BEGIN, *self.system]

    def _new(self, count):
        self.written += count
        start = 1_000_000 * (self.number + 1) + self.written
        return tuple(range(start, start + count))

    def turn(self, message=20, answer=12):
        """Return the next prompt and its answer."""
        self.history += self._new(message)
        prompt = (*self.history, *GENERATE, *(NO_REASONING if self.no_reasoning else ()))
        answer = self._new(answer + self.reasoning)
        self.history += (*GENERATE, *answer[self.reasoning :])
        return prompt, answer

    def could_be(self, prompt):
        """Return how much of *prompt* is cached where every conversation keeps its slot."""
        common = 0
        for held, token in zip(self.last, prompt, strict=False):
            if held != token:
                break
            common += 1
        return min(common, len(prompt) - 1)

    def had(self, prompt, answer):
        """Record what a slot holds after the turn: the last token sampled is not evaluated."""
        self.last = (*prompt, *answer[:-1])

"""The slots: chooses one for a prompt, and copies the evaluated tokens that it can reuse."""

from pilotlight_backend import placement
from pilotlight_backend.placement import common_prefix
from pilotlight_echo.job import Job
from pilotlight_echo.model import Cache


class Slot:
    """A sequence's place. Its cache outlives the request, and the next one may reuse it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.cache = Cache()
        self.scope = ""
        """Whose tokens the cache holds: other scopes must not notice them."""
        self.job: Job | None = None
        self.prompted = 0
        """Tokens of the last request's prompt; the cache's further tokens are the answer."""
        self.last_used = 0

    def common(self, job: Job) -> int:
        """Return how many tokens of the prompt of *job* the cache has, if it may use them."""
        if self.scope != job.scope:
            return 0
        return common_prefix(self.cache.tokens, job.prompt)


class Slots:
    """All slots of an engine."""

    def __init__(self, count: int) -> None:
        self.all = tuple(Slot(number) for number in range(count))
        self._ended = 0

    @property
    def busy(self) -> list[Slot]:
        """The slots that have a request."""
        return [slot for slot in self.all if slot.job is not None]

    def admit(self, job: Job) -> None:
        """Give *job* an idle slot, and copy into it the longest prefix of its prompt in any slot.

        The prompt's last token is always evaluated: its logits give the answer's first token.
        """
        prompt = job.prompt
        source = max(self.all, key=lambda slot: slot.common(job))
        usable = min(source.common(job), len(prompt) - 1)
        idle = (self._offer(slot, job, usable) for slot in self.all if slot.job is None)
        slot = self.all[placement.choose(idle, self._ended)]
        slot.cache.copy(source.cache, usable)
        slot.job = job
        slot.scope = job.scope
        slot.prompted = len(prompt)
        job.start(usable)

    def release(self, job: Job) -> None:
        """Free the slot of *job*, if it has one."""
        for slot in self.all:
            if slot.job is job:
                self._ended += 1
                slot.last_used = self._ended
                slot.job = None

    def _offer(self, slot: Slot, job: Job, usable: int) -> placement.Slot:
        held = slot.cache.tokens
        others = (
            common_prefix(held, other.cache.tokens)
            for other in self.all
            if other is not slot and other.scope == slot.scope
        )
        kept = max(others, default=0)
        kept = max(kept, slot.common(job))
        return placement.Slot(
            id=slot.number,
            continued=placement.continues(len(held), slot.prompted, slot.common(job)),
            usable=usable,
            lost=len(held) - kept,
            last_used=slot.last_used,
        )

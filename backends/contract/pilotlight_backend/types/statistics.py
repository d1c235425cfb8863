"""What an engine does and has done: its steps, its counts, its prompt cache."""

from msgspec import Struct


class Step(Struct, frozen=True, gc=False):
    """A step that an engine has begun and not ended. Its *number* is unique in the engine."""

    number: int
    tokens: int
    """Prompt tokens that it evaluates: the more, the longer it may take."""


class PromptCacheStats(Struct, frozen=True, kw_only=True):
    """What the prompt cache holds, and counts since the load. Bytes are those of states."""

    memory_bytes: int = 0
    memory_entries: int = 0
    storage_bytes: int = 0
    storage_entries: int = 0
    memory_hits: int = 0
    """Requests that started from a state in memory."""
    memory_tokens: int = 0
    """Prompt tokens that were not evaluated for it."""
    storage_hits: int = 0
    """Requests that started from a state which was read from storage for them."""
    storage_tokens: int = 0
    saves: int = 0
    """States that were taken from slots."""
    restores: int = 0
    """States that were put into slots."""
    evictions: int = 0
    """States that made room in memory for others."""
    stored: int = 0
    """Files that were written."""
    storage_reads: int = 0
    """Files whose state was read into memory."""
    storage_evictions: int = 0
    """Files that were deleted: they were not used for long, or made room for others."""
    storage_errors: int = 0
    """Calls to the storage that failed."""


class EngineStats(Struct, frozen=True, kw_only=True):
    """A snapshot of an engine; totals count from its load."""

    slots: int
    slots_busy: int
    queued: int
    kv_tokens: int
    """Tokens in the KV cache, including those kept for reuse."""
    kv_tokens_running: int = 0
    """Those of them in busy slots."""
    kv_capacity: int
    prompt_tokens: int
    """Evaluated prompt tokens, without cached ones."""
    cached_tokens: int
    completion_tokens: int
    steps: int
    drafts: int = 0
    """Drafts that were verified."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    """Those of them that became tokens of a completion."""
    under_way: tuple[Step, ...] = ()
    """The running steps; one that stays too long hangs."""
    images_encoded: int = 0
    """Images that were encoded."""
    images_reused: int = 0
    """Images whose encoding was still kept from an earlier request."""
    dead: bool = False
    """Whether the engine's thread or process has ended, so that no request can finish."""
    prompt_cache: PromptCacheStats = PromptCacheStats()

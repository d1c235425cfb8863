"""The errors of a backend.

    BackendError
    ├── ModelFileInvalid         the file is damaged; loading it again does not help
    │   └── ModelUnsupported     the file is intact, and this backend cannot run the model
    ├── LoadFailed               loading failed, and may succeed later
    │   └── InsufficientMemory   the model needs more memory than is available
    ├── InvalidParameter         a field of the request is out of range or not supported
    │   └── ContextLengthExceeded
    ├── BakingRefused            this prompt, or no prompt of this model, can be baked
    ├── InferenceFailed          the engine failed during a request
    │   └── GuideFailed          the request's guide raised, or allowed no token
    └── EngineClosed             the engine was closed before the request ended

`Backend.probe` and `Backend.load` raise the first two kinds. `Engine.submit`,
`EmbeddingEngine.embed` and `RankingEngine.rank` raise `InvalidParameter` and `EngineClosed`; the
last two also arrive in a `Failed` event. Messages reach clients: they name the thing, what is
wrong, and what would be right.
"""

from pathlib import Path

from pilotlight_backend.cgroup import memory_size


class BackendError(Exception):
    """The base of every error of a backend."""


class ModelFileInvalid(BackendError):
    """A model file is damaged. The message is the file's name and *reason*."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason


class ModelUnsupported(ModelFileInvalid):
    """A model file is intact, and the backend cannot run the model: no load can succeed."""


class LoadFailed(BackendError):
    """A load failed; a later one may succeed."""


class InsufficientMemory(LoadFailed):
    """A model needs more memory than is available. Both figures are bytes.

    *remedy* says in words what would fit.
    """

    def __init__(self, required: int, available: int, remedy: str = "") -> None:
        super().__init__(
            f"the model needs {memory_size(required)} of memory,"
            f" {memory_size(available)} are available" + (f"; {remedy}" if remedy else "")
        )
        self.required = required
        self.available = available
        self.remedy = remedy


class InvalidParameter(BackendError):
    """A value is out of range or not supported; *param* is the field's name in the contract."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthExceeded(InvalidParameter):
    """A prompt leaves no room for one more token, or an input to embed exceeds the context.

    Both figures are tokens.
    """

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            "prompt",
            f"the prompt has {prompt_tokens} tokens, the context holds {context_length}"
            " (prompt and answer together)",
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class BakingRefused(BackendError):
    """A prompt's state cannot be exported, or not be restored exactly."""


class InferenceFailed(BackendError):
    """The engine failed during a request."""


class GuideFailed(InferenceFailed):
    """A request's guide raised, or allowed no token that the model may sample."""


class EngineClosed(BackendError):
    """The engine was closed before the request ended, or before it was submitted."""

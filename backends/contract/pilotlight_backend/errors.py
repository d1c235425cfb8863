"""What a backend raises.

    BackendError
    ├── ModelFileInvalid         the file is damaged or of an unknown kind, and stays so
    │   └── ModelUnsupported     the file is whole, and this backend cannot serve what it holds
    ├── LoadFailed               loading went wrong for a reason that may pass
    │   └── InsufficientMemory   it needs more memory than there is
    ├── InvalidParameter         a value of the request cannot be honoured
    │   └── ContextLengthExceeded
    ├── BakingRefused            this prompt, or any of the model's, is not baked
    ├── InferenceFailed          the engine broke while it worked on a request
    │   └── GuideFailed          what restricts the request's tokens broke, or left none
    └── EngineClosed             the engine was closed before the request ended

`Backend.probe` and `Backend.load` raise the first two kinds, `Engine.submit` and
`EmbeddingEngine.embed` the next; the last two also arrive in a `Failed` event. Messages name the
thing and the value, and are fit for clients.
"""

from pathlib import Path

from pilotlight_backend.cgroup import memory_size


class BackendError(Exception):
    """Anything a backend can say went wrong."""


class ModelFileInvalid(BackendError):
    """A model file cannot be read as what it claims to be."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason


class ModelUnsupported(ModelFileInvalid):
    """A model file is whole, and holds what the backend cannot serve: no load can succeed."""


class LoadFailed(BackendError):
    """A load did not succeed; a later one may."""


class InsufficientMemory(LoadFailed):
    """A model needs more memory than is available. Both figures are bytes.

    *remedy* is what would fit, for people.
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
    """A request's value is out of range or not supported; *param* is the contract's field name."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthExceeded(InvalidParameter):
    """A prompt does not leave room for one more token in the context. Both figures are tokens.

    Of an input to embed: it is longer than the context.
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
    """A prompt's state cannot be taken out, or not be put back exactly."""


class InferenceFailed(BackendError):
    """The engine failed while it worked on a request."""


class GuideFailed(InferenceFailed):
    """A request's guide raised, or refused every token that the model may choose."""


class EngineClosed(BackendError):
    """The engine was closed while the request waited or ran."""

"""Errors between the processes: the contract's arrive with the class and values they left with."""

from pathlib import Path

from msgspec import Struct

from pilotlight_backend import errors
from pilotlight_backend.errors import (
    BackendError,
    ContextLengthExceeded,
    InferenceFailed,
    InsufficientMemory,
    InvalidParameter,
    ModelFileInvalid,
)


class Problem(Struct, frozen=True):
    """An error: its class's name in the contract, and the arguments of its constructor."""

    kind: str
    arguments: tuple[int | str | None, ...]


def describe(error: Exception) -> Problem:
    """Return *error* in a form that can be sent; a backend's own class becomes its nearest base."""
    match error:
        case ModelFileInvalid():
            arguments: tuple[int | str | None, ...] = (str(error.path), error.reason)
        case InsufficientMemory():
            arguments = (error.required, error.available, error.remedy)
        case ContextLengthExceeded():
            arguments = (error.prompt_tokens, error.context_length)
        case InvalidParameter():
            arguments = (error.param, str(error))
        case OSError():
            return Problem("OSError", (error.errno, error.strerror, _name(error.filename)))
        case BackendError():
            arguments = (str(error),)
        case _:
            # Without its message, which may quote a prompt.
            return Problem(
                InferenceFailed.__name__, (f"the engine failed with {type(error).__name__}",)
            )
    return Problem(_known(type(error)), arguments)


def rebuild(problem: Problem) -> Exception:
    """Return the error that *problem* describes."""
    if problem.kind == "OSError":
        return OSError(*problem.arguments)
    kind = getattr(errors, problem.kind)
    if issubclass(kind, ModelFileInvalid):
        path, reason = problem.arguments
        made: Exception = kind(Path(str(path)), str(reason))
    else:
        made = kind(*problem.arguments)
    return made


def _known(kind: type[BackendError]) -> str:
    names = (one.__name__ for one in kind.__mro__)
    return next(name for name in names if issubclass(kind, getattr(errors, name, ())))


def _name(filename: object) -> str | None:
    return None if filename is None else str(filename)

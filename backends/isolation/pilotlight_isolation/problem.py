"""Errors on their way from a process to another: the contract's own stay what they are."""

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
    """An error: its class's name in the contract, and what that is made with."""

    kind: str
    made_with: tuple[int | str | None, ...]


def describe(error: Exception) -> Problem:
    """Return *error* in a form that can be sent; of a class nobody knows, the nearest that is."""
    match error:
        case ModelFileInvalid():
            made_with: tuple[int | str | None, ...] = (str(error.path), error.reason)
        case InsufficientMemory():
            made_with = (error.required, error.available, error.remedy)
        case ContextLengthExceeded():
            made_with = (error.prompt_tokens, error.context_length)
        case InvalidParameter():
            made_with = (error.param, str(error))
        case OSError():
            return Problem("OSError", (error.errno, error.strerror, _name(error.filename)))
        case BackendError():
            made_with = (str(error),)
        case _:
            # Not what it says: that may quote a prompt.
            return Problem(
                InferenceFailed.__name__, (f"the engine failed with {type(error).__name__}",)
            )
    return Problem(_known(type(error)), made_with)


def rebuild(problem: Problem) -> Exception:
    """Return the error that *problem* describes."""
    if problem.kind == "OSError":
        return OSError(*problem.made_with)
    kind = getattr(errors, problem.kind)
    if issubclass(kind, ModelFileInvalid):
        path, reason = problem.made_with
        made: Exception = kind(Path(str(path)), str(reason))
    else:
        made = kind(*problem.made_with)
    return made


def _known(kind: type[BackendError]) -> str:
    names = (one.__name__ for one in kind.__mro__)
    return next(name for name in names if issubclass(kind, getattr(errors, name, ())))


def _name(filename: object) -> str | None:
    return None if filename is None else str(filename)

"""How an exception is logged: what it is and where it came from, and not what it says. Pure.

What a library puts into its messages nobody knows: a UnicodeEncodeError holds the whole text that
it was raised for, which may be a prompt.
"""

import traceback
from collections.abc import Iterator

from pilotlight_backend.errors import (
    BakingRefused,
    EngineClosed,
    LoadFailed,
    ModelFileInvalid,
)

_SAYS_NO_CONTENT = (ModelFileInvalid, LoadFailed, BakingRefused, EngineClosed)
"""Errors that are raised where nobody's request is at hand, or say nothing of one."""


def trace(error: BaseException) -> str:
    """Return *error*'s class and frames, and those of what led to it, the first cause first.

    They are written as Python writes them, which collectors of errors read.
    The words of the contract's errors of loading are kept, and of an `OSError` its number.
    """
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__
    if before is None and not error.__suppress_context__:
        before = error.__context__
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "which led to:" if error.__cause__ is not None else "and while that was handled:"
    yield "Traceback (most recent call last):"
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {line}, in {code.co_name}'
    yield _headline(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen:
                yield from _lines(one, seen)


def _headline(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    if isinstance(error, _SAYS_NO_CONTENT):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: [Errno {error.errno}]"
    return name


def _full_name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

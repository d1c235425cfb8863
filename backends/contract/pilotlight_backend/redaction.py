"""What errors may say: to clients no folder of the server, in the log no text of a request. Pure.

Libraries put paths and texts into their messages: an `OSError` has the file's path, and a
`UnicodeEncodeError` has the whole text that it was raised for, which may be a prompt.
"""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from pilotlight_backend.errors import (
    BakingRefused,
    EngineClosed,
    LoadFailed,
    ModelFileInvalid,
)

_FOLDERS = re.compile(r"""(?<![\w.:/~-])~?/(?:[^\s/'"():,;]+/)+""")
"""An absolute path up to its last part. What stands behind a letter or a slash is no such path, but
the middle of a relative one or of an address."""


def without_folders(text: str, model: Path) -> str:
    """Return *text* with its absolute paths cut: below *model*'s folder to there, others to a name.

    Native libraries put paths into what they say, and so does `OSError`. The model's own folder is
    cut first, since its name may hold what ends a path in a text, such as a space. What is not
    UTF-8 in a name is a `?`: JSON cannot hold it.
    """
    for path in (model, model.absolute()):
        if len(path.parent.parts) > 1:
            text = text.replace(f"{path.parent}/", "")
    return _FOLDERS.sub("", text).encode("utf-8", "replace").decode()


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

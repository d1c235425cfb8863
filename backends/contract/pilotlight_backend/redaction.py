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
"""An absolute path up to its last part. After a letter or a slash it is the middle of a relative
path or of a URL, and no match."""


def without_folders(text: str, model: Path) -> str:
    """Return *text* with each absolute path cut to the part below *model*'s folder, or to a name.

    Messages of native libraries and of `OSError` contain paths. The model's own folder is cut
    first: its name may contain a space, which ends a path in the pattern. Bytes of a name that are
    not UTF-8 become `?`, since JSON cannot hold them.
    """
    for path in (model, model.absolute()):
        if len(path.parent.parts) > 1:
            text = text.replace(f"{path.parent}/", "")
    return _FOLDERS.sub("", text).encode("utf-8", "replace").decode()


_WITHOUT_REQUESTS = (ModelFileInvalid, LoadFailed, BakingRefused, EngineClosed)
"""Errors whose messages never contain a request's text."""


def trace(error: BaseException) -> str:
    """Return *error*'s traceback without messages, those of its causes first.

    The format is Python's, which error collectors parse. The messages of the contract's load
    errors stay, and an `OSError`'s number.
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
    if isinstance(error, _WITHOUT_REQUESTS):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: [Errno {error.errno}]"
    return name


def _full_name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

"""Folders that take long to prepare: shared by the workers, and kept for the next run."""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build/tests"
_MADE_OF = ".made-of"


def prepared(name: str, made_of: Iterable[bytes], prepare: Callable[[Path], None]) -> Path:
    """Return the folder *name*, which *prepare* fills where it was filled from something else.

    *made_of* is all that decides about what is in it. A folder whose preparation failed is
    prepared again.
    """
    folder = BUILD / name
    key = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in made_of)).hexdigest()
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be preparing it
        made = folder / _MADE_OF
        if not made.is_file() or made.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            prepare(folder)
            made.write_text(key)
    return folder

"""Where cached prompts are stored: a folder's path, or the address of a bucket."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from pilotlight.config.kinds import ConfigError

_LIBRARIES = {"gs": ("obstore", "gcsfs"), "s3": ("obstore", "s3fs")}
"""The libraries for each kind of bucket, of which one is enough."""


def state_address(given: str | None) -> str | None:
    """Return the setting *given*, with its `~` expanded; None without one.

    Raises `ConfigError` for an address of another scheme, one whose library is not installed, and
    a path that is no folder. A folder that does not exist is made when the first state is written.
    """
    if given is None:
        return None
    scheme, separator, rest = given.partition("://")
    if separator:
        _check_bucket(given, scheme, rest)
        return given
    try:
        path = Path(given).expanduser()
    except RuntimeError:
        raise _error(given, "there is no home folder to expand its ~") from None
    with suppress(OSError):  # a mount that fails now costs the cache, and not the server
        if path.exists() and not path.is_dir():
            raise _error(given, "it is a file; expected a folder")
    return str(path)


def _check_bucket(address: str, scheme: str, rest: str) -> None:
    libraries = _LIBRARIES.get(scheme)
    if libraries is None:
        raise _error(address, f"expected a folder, gs://… or s3://…, not {scheme}://")
    if not rest.strip("/"):
        raise _error(address, f"expected a bucket, such as {scheme}://bucket/folder")
    if not any(find_spec(name) for name in libraries):  # not imported: that may take a second
        raise _error(address, "obstore is not installed: pip install 'pilotlight[buckets]'")


def _error(given: str, reason: str) -> ConfigError:
    return ConfigError(f"--state-dir {given}: {reason}")

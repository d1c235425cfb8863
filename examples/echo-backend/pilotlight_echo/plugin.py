"""The entry point. Importing it imports no native library, and numpy is one."""

from pilotlight_backend import Backend, hookimpl
from pilotlight_echo.backend import EchoBackend


@hookimpl
def pilotlight_register_backend() -> Backend:
    """Return the echo backend."""
    return EchoBackend()

"""A plugin whose hook returns something that is no backend."""

from pilotlight_backend import hookimpl


@hookimpl
def pilotlight_register_backend() -> object:
    """Return an object that implements none of the protocol."""
    return object()

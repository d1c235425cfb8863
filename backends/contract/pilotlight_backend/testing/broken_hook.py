"""A plugin that imports well and whose hook raises."""

from pilotlight_backend import Backend, hookimpl


@hookimpl
def pilotlight_register_backend() -> Backend:
    """Raise, as a backend does that finds its machine unfit."""
    raise RuntimeError("the fake backend found no usable device")

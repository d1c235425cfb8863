"""The fake as a plugin: an entry point `fake = "pilotlight_backend.testing.plugin"` loads it."""

from pilotlight_backend import Backend, hookimpl
from pilotlight_backend.testing.fake import FakeBackend


@hookimpl
def pilotlight_register_backend() -> Backend:
    """Return a new fake backend, named `fake`."""
    return FakeBackend()

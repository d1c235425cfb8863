"""The one hook: it finds a plugin's backend. Everything after it is a plain call."""

import pluggy

from pilotlight_backend.protocols import Backend

PROJECT = "pilotlight"
"""The pluggy project name, and the entry-point group of plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def pilotlight_register_backend() -> Backend:
    """Return this plugin's backend.

    Called once, when a model first needs the plugin. Must not import a native library: that is for
    `Backend.load`.
    """
    raise NotImplementedError  # a hookspec is a signature; pluggy never calls it

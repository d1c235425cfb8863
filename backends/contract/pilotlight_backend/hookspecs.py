"""The one hook. Hooks are for discovery; everything after it is a plain call."""

import pluggy

from pilotlight_backend.protocols import Backend

PROJECT = "pilotlight"
"""The pluggy project name, and the entry point group that plugins register in."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def pilotlight_register_backend() -> Backend:
    """Return this plugin's backend.

    Called once, when a model first needs the plugin. It imports no native library.
    """
    raise NotImplementedError  # a hookspec is a signature; pluggy never calls it

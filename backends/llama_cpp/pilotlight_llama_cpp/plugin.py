"""The entry point. Importing it imports no native library."""

from pilotlight_backend import Backend, hookimpl
from pilotlight_llama_cpp.backend import LlamaCppBackend


@hookimpl
def pilotlight_register_backend() -> Backend:
    """Return the llama.cpp backend."""
    return LlamaCppBackend()

"""The entry point. Importing it imports no native library."""

from pilotlight_backend import Backend, hookimpl
from pilotlight_onnx.backend import OnnxBackend


@hookimpl
def pilotlight_register_backend() -> Backend:
    """Return the ONNX Runtime GenAI backend."""
    return OnnxBackend()

"""llama.cpp's C API, imported and initialised when a model is first loaded."""

import ctypes
import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

from pilotlight_backend import malloc
from pilotlight_llama_cpp import guarded_thread, logs

_lock = threading.Lock()
_library: Any = None
_mtmd_library: Any = None


def library() -> Any:
    """Return the ctypes binding of llama.cpp's C API, initialised once for the process."""
    global _library  # noqa: PLW0603 - llama_backend_init is once per process, as the library is
    with _lock:
        if _library is None:
            malloc.limit_arenas()
            binding = _import_binding("llama_cpp.llama_cpp")
            logs.install(binding)
            guarded_thread.install(binding._lib)  # noqa: SLF001
            binding.llama_backend_init()
            _library = binding
    return _library


def mtmd_library() -> Any:
    """Return the ctypes binding of llama.cpp's library for images, imported at its first use.

    Raises `ImportError` for a build without it (`LLAVA_BUILD`).
    """
    global _mtmd_library  # noqa: PLW0603 - as above
    library()
    with _lock:
        if _mtmd_library is None:
            try:
                binding = _import_binding("llama_cpp.mtmd_cpp")
            except (OSError, RuntimeError) as error:  # the library's file is missing or damaged
                raise ImportError(str(error)) from error
            logs.install_mtmd(binding)
            _mtmd_library = binding
    return _mtmd_library


def build(binding: Any) -> str:
    """Return what determines results: llama.cpp's version, ggml's commit, the CPU's features."""
    parts = [binding.llama_version(), binding.llama_print_system_info()]
    # The library exports it, but the binding does not declare it.
    commit = getattr(binding._lib, "ggml_commit", None)  # noqa: SLF001
    if commit is not None:
        commit.restype = ctypes.c_char_p
        parts.insert(1, commit())
    return " ".join(part.decode().strip(" |") for part in parts)


def _import_binding(name: str) -> Any:
    """Import the module *name* of `llama_cpp` without the rest of the package.

    The package's `__init__` imports numpy, jinja2 and the high-level class, which are not used here
    and take 0.3 s of a cold start. During the import an empty module stands in for the package.
    """
    if "llama_cpp" in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp")
    package = ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["llama_cpp"] = package
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules["llama_cpp"]

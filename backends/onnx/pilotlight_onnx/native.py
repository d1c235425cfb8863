"""ONNX Runtime GenAI's public C API through ctypes, loaded when a model is first loaded.

Its Python bindings hold the GIL while a model loads, a prompt is prefilled and a token is decoded:
a prompt of 400 tokens stopped all other threads, the event loop too, for 4.5 s. ctypes releases the
GIL in every call, and the longest pause was 14 ms. A worker process would help too, but costs the
start and the memory of an interpreter for each model, and a pipe for every token.
"""

import ctypes
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from pilotlight_backend import malloc

_OUT = POINTER(c_void_p)
_TOKENS = POINTER(c_int32)

# Source: onnxruntime-genai, src/ort_genai_c.h. These return an OgaResult: null, or an error.
_FALLIBLE: dict[str, tuple[Any, ...]] = {
    "OgaCreateConfig": (c_char_p, _OUT),
    "OgaConfigOverlay": (c_void_p, c_char_p),
    "OgaConfigClearProviders": (c_void_p,),
    "OgaConfigAppendProvider": (c_void_p, c_char_p),
    "OgaCreateModelFromConfig": (c_void_p, _OUT),
    "OgaCreateTokenizer": (c_void_p, _OUT),
    "OgaTokenizerEncode": (c_void_p, c_char_p, c_void_p),
    "OgaCreateSequences": (_OUT,),
    "OgaCreateGeneratorParams": (c_void_p, _OUT),
    "OgaGeneratorParamsSetSearchNumber": (c_void_p, c_char_p, c_double),
    "OgaCreateGenerator": (c_void_p, c_void_p, _OUT),
    "OgaGenerator_AppendTokens": (c_void_p, _TOKENS, c_size_t),
    "OgaGenerator_GenerateNextToken": (c_void_p,),
    "OgaGenerator_GetLogits": (c_void_p, _OUT),
    "OgaGenerator_RewindTo": (c_void_p, c_size_t),
    "OgaGenerator_SetRuntimeOption": (c_void_p, c_char_p, c_char_p),
    "OgaTensorGetShapeRank": (c_void_p, POINTER(c_size_t)),
    "OgaTensorGetShape": (c_void_p, POINTER(c_int64), c_size_t),
    "OgaTensorGetData": (c_void_p, _OUT),
}
# These cannot fail: arguments, and what is returned.
_PLAIN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "OgaSequencesGetSequenceCount": ((c_void_p, c_size_t), c_size_t),
    "OgaSequencesGetSequenceData": ((c_void_p, c_size_t), _TOKENS),
    "OgaDestroySequences": ((c_void_p,), None),
    "OgaDestroyConfig": ((c_void_p,), None),
    "OgaDestroyModel": ((c_void_p,), None),
    "OgaDestroyTokenizer": ((c_void_p,), None),
    "OgaDestroyGeneratorParams": ((c_void_p,), None),
    "OgaDestroyGenerator": ((c_void_p,), None),
    "OgaDestroyTensor": ((c_void_p,), None),
}

_lock = threading.Lock()
_library: Any = None


class NativeError(Exception):
    """An error of ONNX Runtime GenAI, with its message."""


def library() -> Any:
    """Return the C API, loaded once for the process; its fallible functions raise `NativeError`."""
    global _library  # noqa: PLW0603 - a shared library is once per process
    with _lock:
        if _library is None:
            _library = _load()
    return _library


def _load() -> Any:
    malloc.limit_arenas()
    # ONNX Runtime reads this when it is loaded. Without it, its wheel writes a device id and a
    # database below ~/.cache at the first model, and opens sockets to send telemetry.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    runtime = runtime_library(_package("onnxruntime") / "capi")
    # GenAI loads the runtime from here; without it, it looks for one of the system.
    os.environ["ORT_LIB_PATH"] = str(runtime)
    ctypes.CDLL(str(runtime))
    library = ctypes.CDLL(str(_package("onnxruntime_genai") / f"libonnxruntime-genai{suffix()}"))
    library.OgaResultGetError.argtypes = (c_void_p,)
    library.OgaResultGetError.restype = c_char_p
    library.OgaDestroyResult.argtypes = (c_void_p,)
    library.OgaDestroyResult.restype = None
    check = _check_with(library)
    for name, arguments in _FALLIBLE.items():
        function = getattr(library, name)
        function.argtypes, function.restype, function.errcheck = arguments, c_void_p, check
    for name, (arguments, result) in _PLAIN.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


def suffix() -> str:
    """Return the suffix of shared libraries on this system."""
    return ".dylib" if sys.platform == "darwin" else ".so"


def runtime_library(folder: Path) -> Path:
    """Return ONNX Runtime's library in *folder*: libonnxruntime.so.1.27.0, ….1.27.0.dylib.

    Raises `FileNotFoundError`. The folder also has the libraries of execution providers.
    """
    for path in sorted(folder.glob("libonnxruntime.*")):
        if suffix() in path.name:
            return path
    raise FileNotFoundError(f"no ONNX Runtime library in {folder.name}")


def _package(name: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return Path(spec.origin).parent


def _check_with(library: Any) -> Callable[[int | None, Any, Any], None]:
    def check(result: int | None, _function: Any, _arguments: Any) -> None:
        if result:
            message = library.OgaResultGetError(result).decode("utf-8", "replace")
            library.OgaDestroyResult(result)
            raise NativeError(message)

    return check


def create(function: Callable[..., None], *arguments: Any) -> c_void_p:
    """Call a function that creates an object, and return the object's pointer."""
    pointer = c_void_p()
    function(*arguments, ctypes.byref(pointer))
    return pointer

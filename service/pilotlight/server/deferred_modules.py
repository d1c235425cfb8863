"""Modules that Litestar and uvicorn import and a server does not use: they run when they are used.

`import uvicorn` imports its command line, and with it click and multiprocessing, and what reads
files of its own for logging; Litestar imports PyYAML and attrs for its own OpenAPI pages and the
debugger for an option. Together they are a tenth of the CPU seconds of a start (uvicorn 0.54,
Litestar 2.25).
"""

import sys
import threading
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

UNUSED = ("uvicorn", "logging.config", "configparser", "yaml", "pdb", "attr", "attrs")
"""Of uvicorn, only what `uvicorn/__init__.py` imports: its submodules are imported as always."""
_DEFINED_IN = {("uvicorn", "Config"): "uvicorn.config", ("uvicorn", "Server"): "uvicorn.server"}
"""Names that need only a submodule: `uvicorn.lifespan.on` imports `Config` from the package."""


class _Deferred(ModuleType):
    """A module that runs when an attribute is read that it does not have yet.

    `importlib.util.LazyLoader` is of no use here: before Python 3.12 `import name` reads
    `__spec__` of the module that it finds in `sys.modules`, which loads it.
    """

    def __getattr__(self, name: str) -> Any:
        if (defined_in := _DEFINED_IN.get((self.__name__, name))) is not None:
            return getattr(import_module(defined_in), name)
        with _running:
            spec = self.__spec__
            if spec is not None and spec.loader is not None and spec.name in _waiting:
                _waiting.discard(spec.name)
                spec.loader.exec_module(self)
        if name in vars(self):
            return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


_running = threading.RLock()
"""Other threads wait for a module that runs; code that it imports may read it meanwhile."""
_waiting: set[str] = set()


def defer(names: Iterable[str] = UNUSED) -> None:
    """Let each module of *names* run at its first use, not when it is imported.

    Does nothing for a module that is imported already or is not installed.
    """
    for name in names:
        spec = None if name in sys.modules else find_spec(name)
        if spec is None:
            continue
        sys.modules[name] = module = _Deferred(name)
        parent, _, child = name.rpartition(".")
        if parent:  # as the import system does, but for a module that it finds in `sys.modules`
            setattr(import_module(parent), child, module)
        _adopt(module, module_from_spec(spec))
        _waiting.add(name)


def _adopt(module: ModuleType, made: ModuleType) -> None:
    """Give *module* what the import system has set in *made*: its spec, its path, its file."""
    vars(module).update(vars(made))

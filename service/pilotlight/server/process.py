"""Run the server: a socket that listens before anything else, then uvicorn on it."""

import asyncio
import errno
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pilotlight import __version__, deployment
from pilotlight.config import ConfigError, Settings
from pilotlight.observability.logs import configure_logging

if TYPE_CHECKING:
    from pilotlight.access import Authenticator
    from pilotlight.server.http_server import HttpServer
    from pilotlight.service import Service

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_NAMING = 0.1
"""Seconds that serving waits for the names to preload. A models folder that takes longer to search,
such as a mounted bucket, does not hold up the probes; a misspelt name then ends a server that has
begun."""
_FIRST_LOAD = 0.3
"""Seconds that the import of the web framework waits for the first load to be under way. Each holds
the GIL, and the load would begin later by as much. A load that is not under way by then waits for
files or memory, and needs no GIL for that."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def listen(settings: Settings) -> socket.socket:
    """Return a listening socket: TCP probes pass from now on, and early requests wait in it.

    Raises `ConfigError` if the address is not available.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"--host {settings.host} --port {settings.port}: {_why_not(error)}"
        ) from None


def _why_not(error: OSError) -> str:
    """Return why an address is not available, and what to change."""
    if error.errno == errno.EADDRINUSE:
        return "another process listens there; stop it or set another --port"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    # `create_server` appends the address, as Python writes a tuple, to the system's message.
    return os.strerror(error.errno)


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on *listener* until SIGTERM or SIGINT.

    Then no request is admitted, those in flight get `grace` seconds, and the process exits with 0.
    """
    for (
        number
    ) in _SIGNALS:  # before uvicorn runs there is nothing to drain; PID 1 has no default handlers
        signal.signal(number, lambda *_: sys.exit(0))
    configure_logging(settings)
    gc.disable()  # during startup: imported modules and the application stay
    # Imported after the port is open, like those below: imports take most of the startup.
    import uvloop  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from pilotlight.access import Authenticator  # noqa: PLC0415
    from pilotlight.service import Service  # noqa: PLC0415

    authenticator = Authenticator(settings, clock=time.monotonic)
    service = Service(settings)
    service.begin()
    logger.info("%s", resources(settings))
    if stall := deployment.warning(settings.platform, settings.hold):
        logger.warning("%s", stall)
    _look_for_models_folder(settings)
    if not authenticator.closed and (exposed := exposure_warning(listener)):
        logger.warning("%s", exposed)
    # The web framework is imported on a thread: models load meanwhile, in native code.
    server = await asyncio.to_thread(_import_and_build, service, settings, authenticator, listener)
    naming = asyncio.create_task(service.named())
    await asyncio.wait({naming}, timeout=_NAMING)
    if naming.done():
        naming.result()
    print(banner(settings, listener), flush=True)  # noqa: T201 - for a person at a terminal
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.wait({naming, serving}, return_when=asyncio.FIRST_COMPLETED)
    if naming.done() and not naming.cancelled() and naming.exception():
        server.should_exit = True
    await serving
    if naming.done() and not naming.cancelled():
        naming.result()


def _import_and_build(
    service: "Service",
    settings: Settings,
    authenticator: "Authenticator",
    listener: socket.socket,
) -> "HttpServer":
    service.wait_for_load(_FIRST_LOAD)
    from pilotlight.server.deferred_modules import defer  # noqa: PLC0415

    defer()
    from pilotlight.server.app import create_app_of  # noqa: PLC0415
    from pilotlight.server.http_server import HttpServer  # noqa: PLC0415

    app = create_app_of(service, settings, authenticator)
    return HttpServer(app, service, settings, listener)


def resources(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Describe the platform, CPUs and memory of this process, and how long requests wait."""
    from pilotlight_backend import cgroup  # noqa: PLC0415 - with the port already open

    memory = cgroup.available_memory()
    room = "" if memory is None else f", {memory / 1e9:.1f} GB of memory"
    cpus = cgroup.granted_cpus()
    return (
        f"{_found(settings.platform, deployment.detect(environ))}"
        f"{cpus} CPU{'s' if cpus > 1 else ''}{room};"
        f" a request waits up to {settings.hold:g} s for a model that is loading"
    )


def _found(chosen: deployment.Platform, found: deployment.Profile) -> str:
    """Describe the platform that was detected or set; empty on a plain machine."""
    if chosen != found.platform:
        return f"platform {chosen} (--platform): "
    return "" if chosen == "none" else f"platform {chosen} ({found.why}): "


def exposure_warning(listener: socket.socket) -> str | None:
    """Return a warning if other machines can reach *listener*; for a server without API keys."""
    host = listener.getsockname()[0]
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        return None
    return (
        f"anyone who can reach {host} can use this server: there are no API keys"
        " (--api-keys-file, PILOTLIGHT_API_KEYS)"
    )


def _look_for_models_folder(settings: Settings) -> None:
    """Log a warning if the models folder is missing, which the default one may be.

    On a thread of its own, which nothing waits for: a mounted bucket may take minutes to respond.
    """
    if settings.models_dir == Settings().models_dir.expanduser():
        return

    def look() -> None:
        if warning := models_folder_warning(settings.models_dir):
            logger.warning("%s", warning)

    threading.Thread(target=look, name="models folder", daemon=True).start()


def models_folder_warning(folder: Path) -> str | None:
    """Return a warning if *folder* is no folder that can be searched."""
    if folder.is_dir():
        return None
    wrong = "not a folder" if folder.exists() else "no such folder"
    return (
        f"--models-dir {folder}: {wrong}; models that are put there later are found with the next"
        " request"
    )


def banner(settings: Settings, listener: socket.socket) -> str:
    """Return the addresses of the server and commands to paste. Reads no files."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    url = f"http://{host}:{port}"
    has_keys = settings.api_keys is not None or settings.api_keys_file is not None
    key = ' -H "Authorization: Bearer $KEY"' if has_keys else ""
    lines = [
        f"Pilotlight {__version__} listens on {url}",
        f"  try it out     {url}{'/' if settings.page else '/swagger'}",
        f"  its models     curl {url}/v1/models{key}",
    ]
    if settings.chat_completions:
        endpoint = url + settings.chat_completions_path
        body = '{"model": "spark", "messages": [{"role": "user", "content": "What is 2+2?"}]}'
        ask = f"curl {endpoint}{key} -H 'Content-Type: application/json' -d '{body}'"
        lines.append(f"  first answer   {ask}")
    return "\n".join(lines)

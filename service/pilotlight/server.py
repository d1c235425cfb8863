"""The process: a socket that listens before anything else, uvicorn on it, and an orderly end."""

import logging
import signal
import socket

from pilotlight import __version__, platform
from pilotlight.config import ConfigError, Settings
from pilotlight.telemetry import configure_logging

logger = logging.getLogger(__name__)

_BACKLOG = 2048


def listen(settings: Settings) -> socket.socket:
    """Return a listening socket: a TCP probe passes from here on, and early requests wait in it.

    Raises `ConfigError` where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"--host {settings.host} --port {settings.port}: {error.strerror or error}"
        ) from None


def run(settings: Settings, listener: socket.socket) -> None:
    """Serve on *listener* until SIGTERM or SIGINT; running requests get `grace` seconds."""
    configure_logging(settings)
    logger.info("platform: %s; requests are held for %g s", settings.platform, settings.hold)
    if stall := platform.warning(settings.platform, settings.hold):
        logger.warning("%s", stall)
    # Imported here, with the port already open: they take most of the start.
    import uvicorn  # noqa: PLC0415

    from pilotlight.app import create_app  # noqa: PLC0415

    config = uvicorn.Config(
        create_app(settings),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(round(settings.grace), 1),
    )
    # uvicorn raises the signal that ended it once more when it is done. The requests have had
    # their answers by then, so it ends nothing: the exit status is 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    print(announcement(settings, listener), flush=True)  # noqa: T201 - for whoever started it
    uvicorn.Server(config).run(sockets=[listener])


def announcement(settings: Settings, listener: socket.socket) -> str:
    """Return what is served where, and a line to paste. Knows only what costs no file access."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    url = f"http://{host}:{port}"
    lines = [
        f"Pilotlight {__version__} listens on {url}",
        f"  try it out     {url}/swagger",
        f"  its models     curl {url}/v1/models",
    ]
    if settings.chat_completions:
        endpoint = url + settings.chat_completions_path
        body = '{"model": "spark", "messages": [{"role": "user", "content": "What is 2+2?"}]}'
        ask = f"curl {endpoint} -H 'Content-Type: application/json' -d '{body}'"
        lines.append(f"  first answer   {ask}")
    return "\n".join(lines)

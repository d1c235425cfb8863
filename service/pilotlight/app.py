"""The composition root: from settings to an application."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from litestar import Litestar
from msgspec import Struct

from pilotlight.admission import Admission
from pilotlight.api.chat import chat_handler
from pilotlight.api.docs import docs_handlers
from pilotlight.api.document import build_document
from pilotlight.api.errors import handle_error
from pilotlight.api.health import health_handlers
from pilotlight.api.models import models_handlers
from pilotlight.config import ConfigError, Settings
from pilotlight.generation import Generator
from pilotlight.models.catalog import Discovery, ModelEntry, read_models_file
from pilotlight.models.history import LoadHistory
from pilotlight.models.pool import Pool
from pilotlight.models.preload import Preload
from pilotlight.models.registry import Registry
from pilotlight.models.resolver import Resolver
from pilotlight.output import reasoning, tool_calls
from pilotlight.schema.health import Readiness
from pilotlight_backend import Backend, LoadOptions

logger = logging.getLogger(__name__)

_LAST_WORDS = 1.0
"""Seconds in which requests that were ended can still be told so."""


class Service(Struct, frozen=True):
    """The parts that outlive a request."""

    registry: Registry
    resolver: Resolver
    pool: Pool
    preload: Preload
    generator: Generator
    admission: Admission

    def readiness(self) -> Readiness:
        """Return what the probes say."""
        if self.admission.closed:
            return Readiness(status="draining", models=[])
        return self.preload.readiness()

    async def drain(self, grace: float) -> None:
        """Take no more requests, give those under way *grace* seconds, then end them.

        Those that are ended are told so: a stream by an error and `[DONE]`.
        """
        self.admission.close()
        if not await self.admission.emptied(grace):
            logger.warning("requests are ended: %g s of grace are over", grace)
        await self.pool.close()
        await self.admission.emptied(_LAST_WORDS)


def create_app(
    settings: Settings,
    *,
    backends: Mapping[str, Backend] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Litestar:
    """Return the application. Nothing is loaded before it starts, and then only what is preloaded.

    *backends* are served beside the installed ones. Raises `ConfigError`.
    """
    service = create_service(settings, backends=backends, clock=clock)
    handlers = [
        *health_handlers(service.readiness),
        *models_handlers(service.resolver, service.registry, service.pool),
        *docs_handlers(
            lambda: build_document(app, chat_completions_path=settings.chat_completions_path)
        ),
    ]
    if settings.chat_completions:
        handlers.append(chat_handler(settings.chat_completions_path, service.generator, settings))
    app = Litestar(
        route_handlers=handlers,
        exception_handlers={Exception: handle_error},
        lifespan=[lambda _: _running(service)],
        request_max_body_size=settings.max_request_bytes,
        openapi_config=None,
        logging_config=None,
    )
    app.state.service = service
    return app


def create_service(
    settings: Settings,
    *,
    backends: Mapping[str, Backend] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Service:
    """Return the parts below HTTP. Raises `ConfigError`."""
    registry = Registry(backends, only=settings.backends)
    _check_backends(settings, registry)
    configured = read_models_file(settings.models_file, settings.models_dir)
    _check_formats(settings, configured)
    pool = Pool(
        registry,
        load_options=lambda entry: _load_options(settings, entry),
        memory_budget=settings.memory_budget_bytes,
        idle_ttl=settings.idle_ttl,
        history=LoadHistory(_cache_dir(settings)),
        max_held=settings.max_held,
        clock=clock,
    )
    discovery = Discovery(settings.models_dir, registry)
    resolver = Resolver(registry, configured, discovery, lambda: pool.loaded)
    preload = Preload(settings.preload, resolver, pool)
    admission = Admission()
    generator = Generator(resolver, pool, admission, max_queue=settings.max_queue)
    return Service(registry, resolver, pool, preload, generator, admission)


@asynccontextmanager
async def _running(service: Service) -> AsyncIterator[None]:
    preloading = asyncio.create_task(service.preload.run(), name="preload")
    try:
        yield
    finally:
        preloading.cancel()
        with suppress(asyncio.CancelledError):
            await preloading
        await service.pool.close()


def _cache_dir(settings: Settings) -> Path | None:
    """Return the folder for load times; none where its `~` stayed for want of a home folder."""
    return None if settings.cache_dir.parts[:1] == ("~",) else settings.cache_dir


def _load_options(settings: Settings, entry: ModelEntry) -> LoadOptions:
    """Return how *entry* is loaded: as models.yaml says, else as the settings say."""
    options = entry.options
    return LoadOptions(
        parallel=options.parallel or settings.parallel,
        context_length=options.context_length or settings.context_length,
        threads=options.threads or settings.threads,
        gpu_layers=options.gpu_layers or 0,
    )


def _check_backends(settings: Settings, registry: Registry) -> None:
    for name in settings.backends:
        if name not in registry.names:
            raise ConfigError(f"--backends {name}: no backend of this name is installed")


def _check_formats(settings: Settings, configured: Sequence[ModelEntry]) -> None:
    for entry in configured:
        for key, formats in (
            ("reasoning_format", reasoning.FORMATS),
            ("tool_call_format", tool_calls.FORMATS),
        ):
            name = getattr(entry.options, key)
            if name is not None and name not in formats:
                known = ", ".join(formats)
                raise ConfigError(
                    f"{settings.models_file}: {entry.name}: {key}: there is no {name!r};"
                    f" there are {known}"
                )

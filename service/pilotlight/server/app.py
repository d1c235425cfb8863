"""The composition root: from settings to an application."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from pilotlight.access import Authenticator
from pilotlight.api.application import Application
from pilotlight.api.deferred import deferred
from pilotlight.api.endpoint import Endpoint, Router
from pilotlight.api.endpoints.health import health_endpoints
from pilotlight.api.http.asgi import AppState, ASGIApp, Receive, Scope, Send
from pilotlight.api.http.auth import Guard, public_paths
from pilotlight.api.http.cors import Cors
from pilotlight.api.http.instrumentation import Instrumentation
from pilotlight.api.http.paths import Aliases, Paths
from pilotlight.api.http.rate_limit_headers import RateLimitHeaders
from pilotlight.api.http.replay import Replays
from pilotlight.api.http.time_limit import TimeLimit
from pilotlight.api.http.unparsed import Unparsed
from pilotlight.api.once import Once
from pilotlight.config import Settings, parse_size
from pilotlight.service import Service
from pilotlight_backend import Backend

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.handlers import HTTPRouteHandler


def create_app(
    settings: Settings,
    *,
    backends: Mapping[str, Backend] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Application:
    """Return the application. Nothing is loaded before it starts, and then only what is preloaded.

    *backends* are served beside the installed ones. Raises `ConfigError`.
    """
    authenticator = Authenticator(settings, clock=clock)
    return create_app_of(Service(settings, backends=backends, clock=clock), settings, authenticator)


def create_app_of(
    service: Service, settings: Settings, authenticator: Authenticator
) -> Application:
    """Return the application that serves *service* to callers that *authenticator* knows.

    The application begins the service if it has not begun, and ends it.
    """
    chat_path = settings.chat_completions_path
    endpoints = [
        *health_endpoints(service.liveness, service.readiness),
        *_model_endpoints(service, settings),
    ]
    replays = Replays(settings.stream_replay, parse_size(settings.stream_replay_bytes))
    service.admission.on_close(replays.close)
    public = public_paths((one.path, "", one.operation) for one in endpoints)
    state = AppState(
        service,
        replays,
        Paths([one.path for one in endpoints], chat_path, public),
        max_request_bytes=settings.max_request_bytes,
        max_retry_after=settings.max_retry_after,
    )

    def import_litestar() -> "Litestar":
        from pilotlight.api import framework  # noqa: PLC0415 - the first answer does not need it

        made = framework.litestar_application(
            _handlers(service, settings, lambda: _document(app, settings, authenticator)),
            endpoints,
            max_request_bytes=settings.max_request_bytes,
        )
        public = public_paths(framework.declared(made))
        state.paths = Paths(framework.templates(made), chat_path, public)
        return made

    litestar = Once(import_litestar)

    async def rest(scope: Scope, receive: Receive, send: Send) -> None:
        app = cast("ASGIApp", await litestar.wait())
        await app(scope, receive, send)

    timed = TimeLimit(
        Router(endpoints, rest), whole=settings.request_timeout, body=settings.receive_timeout
    )
    guarded: ASGIApp = Guard(RateLimitHeaders(timed, service.limiter), authenticator)
    if settings.cors_origins:
        guarded = Cors(guarded, settings.cors_origins)
    instrumented = Instrumentation(Unparsed(guarded), service.metrics, service.traces)
    app = Application(Aliases(instrumented), litestar, state, lambda: _running(service))
    return app


def _handlers(
    service: Service, settings: Settings, document: Callable[[], dict[str, Any]]
) -> "list[HTTPRouteHandler]":
    """Return the handlers that a first answer does not need."""
    from pilotlight.api.endpoints.adapters.listing import adapters_handler  # noqa: PLC0415
    from pilotlight.api.endpoints.docs import docs_handlers, page_handlers  # noqa: PLC0415
    from pilotlight.api.endpoints.metrics import metrics_handler  # noqa: PLC0415
    from pilotlight.api.endpoints.models import models_handlers  # noqa: PLC0415
    from pilotlight.api.endpoints.prompt_cache import prompt_cache_handler  # noqa: PLC0415
    from pilotlight.api.endpoints.streams import streams_handlers  # noqa: PLC0415

    return [
        metrics_handler(service.metrics),
        *models_handlers(service.resolver, service.describe, service.pool),
        adapters_handler(service.adapters, service.resolver),
        prompt_cache_handler(service.clear_prompts),
        *streams_handlers(settings),
        *page_handlers(settings),
        *docs_handlers(document),
    ]


def _adapter_endpoints(service: Service, settings: Settings) -> list[Endpoint]:
    """Return the endpoints that load and unload adapters, where the operator allows it."""
    files = service.adapter_files
    if files is None:
        return []

    def adapters() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.adapters.handler import adapters_handlers  # noqa: PLC0415

        return adapters_handlers(files, settings)

    return deferred("adapters", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", make=adapters)


def _model_endpoints(service: Service, settings: Settings) -> list[Endpoint]:
    """Return the endpoints that use a model; each is imported when it is first called."""

    def chat() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.chat.handler import chat_handler  # noqa: PLC0415

        return [chat_handler(settings.chat_completions_path, service.generator, settings)]

    def completions() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.completions.handler import completions_handler  # noqa: PLC0415

        return [completions_handler(service.generator, settings)]

    def responses() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.responses.handler import responses_handler  # noqa: PLC0415

        return [responses_handler(service.generator, settings)]

    def messages() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.messages.handler import messages_handlers  # noqa: PLC0415

        return messages_handlers(service.generator, settings)

    def embeddings() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.embeddings.handler import embeddings_handler  # noqa: PLC0415

        return [embeddings_handler(service.embedder, settings)]

    def rerank() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.rerank.handler import rerank_handlers  # noqa: PLC0415

        return rerank_handlers(service.reranker, settings)

    def tokens() -> Sequence[Endpoint]:
        from pilotlight.api.endpoints.tokens.handler import tokens_handlers  # noqa: PLC0415

        return tokens_handlers(service.generator, settings)

    endpoints = [
        *deferred("messages", "/v1/messages", "/v1/messages/count_tokens", make=messages),
        *deferred("embeddings", "/v1/embeddings", make=embeddings),
        *deferred("rerank", "/v1/rerank", "/v2/rerank", make=rerank),
        *deferred("responses", "/v1/responses", make=responses),
        *deferred("completions", "/v1/completions", make=completions),
        *deferred("tokens", "/tokenize", "/detokenize", make=tokens),
    ]
    endpoints += _adapter_endpoints(service, settings)
    if settings.chat_completions:
        endpoints += deferred("chat", settings.chat_completions_path, make=chat)
    return endpoints


def _document(app: Application, settings: Settings, authenticator: Authenticator) -> dict[str, Any]:
    from pilotlight.api.openapi.document import build_document  # noqa: PLC0415 - for one request

    return build_document(
        app.litestar,
        chat_completions_path=settings.chat_completions_path,
        # Users of a trusted proxy need no key, and the document is for them too.
        key_required=authenticator.has_keys and not authenticator.trusts_proxies,
    )


@asynccontextmanager
async def _running(service: Service) -> AsyncIterator[None]:
    service.begin()
    await service.traces.open()
    service.opened()
    try:
        yield
    finally:
        await service.end()

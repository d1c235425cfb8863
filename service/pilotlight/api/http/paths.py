"""The paths that are served, their aliases, and suggestions for wrong paths."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import cast

from pilotlight.api.http.asgi import ASGIApp, Receive, Scope, Send, normal_path, state_of
from pilotlight.config import CHAT_COMPLETIONS_PATH

_VERSION = "/v1"
_LONGEST = 200
"""Characters of the longest wrong path that gets a suggestion."""
_ALIKE = 0.8
"""`difflib`'s ratio from which a path is a misspelling of another one."""

_FOREIGN: Mapping[str, str] = {
    # Ollama
    "/api/chat": CHAT_COMPLETIONS_PATH,
    "/api/generate": "/v1/completions",
    "/api/embed": "/v1/embeddings",
    "/api/embeddings": "/v1/embeddings",
    "/api/tags": "/v1/models",
    "/api/ps": "/v1/models",
    "/api/show": "/v1/models",
    # llama-server
    "/completion": "/v1/completions",
    "/infill": "/v1/completions",
    "/embedding": "/v1/embeddings",
    "/reranking": "/v1/rerank",
    "/v1/reranking": "/v1/rerank",
    "/props": "/v1/models",
    "/slots": "/metrics",
    # text-generation-inference
    "/generate": "/v1/completions",
    "/generate_stream": "/v1/completions",
    "/embed": "/v1/embeddings",
    "/info": "/v1/models",
    # Anthropic's before messages
    "/v1/complete": "/v1/messages",
    # a base URL instead of an endpoint
    "/v1": "/v1/models",
    "/v1/chat": CHAT_COMPLETIONS_PATH,
    "/chat": CHAT_COMPLETIONS_PATH,
    # probes and documents of others
    "/ping": "/livez",
    "/healthz": "/livez",
    "/live": "/livez",
    "/liveness": "/livez",
    "/ready": "/readyz",
    "/readiness": "/readyz",
    "/docs": "/swagger",
    "/redoc": "/swagger",
}
"""Endpoints of other servers, and the equivalent ones here."""


class Paths:
    """The paths of one application. Pure."""

    def __init__(
        self,
        templates: Iterable[str],
        chat: str = CHAT_COMPLETIONS_PATH,
        public: frozenset[str] = frozenset(),
    ) -> None:
        """*templates* are served, parameters written as `{name}`, `{name:path}` with slashes in it.

        The chat endpoint is at *chat*. Everything at *public* paths is public.
        """
        self.public = public
        self._literal = {one for one in templates if "{" not in one}
        self._patterns = [_pattern(one) for one in templates if "{" in one]
        self._chat = chat

    def serves(self, path: str) -> bool:
        """Return whether there is an endpoint at *path*."""
        return path in self._literal or any(one.fullmatch(path) for one in self._patterns)

    def leads_to_endpoint(self, path: str) -> bool:
        """Return whether *path*, or the path that it is an alias of, is served."""
        return self.serves(path) or self.serves(_VERSION + path)

    def aliased(self, path: str) -> str | None:
        """Return the path that *path* is an alias of: the same behind `/v1`."""
        full = _VERSION + path
        return full if not self.serves(path) and self.serves(full) else None

    def meant_by(self, path: str) -> str | None:
        """Return the path that is most likely meant by *path*, at which there is no endpoint."""
        if len(path) > _LONGEST:
            return None
        path = normal_path(path)
        known = self._at(_FOREIGN.get(path.lower()))
        return known or self._end_of(path) or self._like(path)

    def _at(self, path: str | None) -> str | None:
        """Return where *path*, one of ours, is served."""
        found = self._chat if path == CHAT_COMPLETIONS_PATH else path
        return found if found is not None and self.serves(found) else None

    def _end_of(self, path: str) -> str | None:
        """Return the longest end of *path* that is served: a prefix is doubled, or another's."""
        segments = path.split("/")[1:]
        for start in range(len(segments)):
            end = "/" + "/".join(segments[start:])
            if found := self._at(end) or self._at(_VERSION + end):
                return found
        return None

    def _like(self, path: str) -> str | None:
        for spelled in (path.lower(), _VERSION + path.lower()):
            if alike := difflib.get_close_matches(spelled, sorted(self._literal), 1, _ALIKE):
                return alike[0]
        return None


class Aliases:
    """An ASGI application before *app*, to which every `/v1/…` path is also known without `/v1`.

    Clients differ in whether their base URL ends with `/v1`. It is the outermost application, so
    that keys, limits, logs, metrics and the shape of errors are those of the path itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, under its own path."""
        full = state_of(scope).paths.aliased(normal_path(scope["path"]))
        if scope["type"] == "http" and full is not None:
            raw = _VERSION.encode() + scope.get("raw_path", b"")
            scope = cast("Scope", {**scope, "path": full, "raw_path": raw})
        await self._app(scope, receive, send)


def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of all paths of *template*."""
    parts = re.split(r"\{[^}:]+(:[^}]+)?\}", template)  # texts, and the parameters' types between
    spelled = [
        re.escape(part or "") if index % 2 == 0 else (".+" if part == ":path" else "[^/]+")
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(spelled), re.DOTALL)

"""`/`, `/openapi.json`, `/openapi.yaml` and `/swagger`, all from this process: no CDN.

Every address in a page is relative, so that a proxy may serve it under a prefix.

The chat page at `/` is a folder of static files, `page/`. Its routes are here, in a module that is
imported anyway: the page adds no import to the start, and no file of it is read before a request.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from pilotlight.api.http.handlers import get
from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.config import Settings
from pilotlight.errors import PathNotFound

_FOLDER = Path(__file__).parent / "swagger"
_YAML = "application/yaml"
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_CACHE = {"Cache-Control": "public, max-age=86400"}

_PAGE_FOLDER = Path(__file__).parent / "page"
_PAGE_FILES = (
    "activity.js",
    "answer.js",
    "api.js",
    "app.js",
    "chat.js",
    "composer.js",
    "dom.js",
    "images.js",
    "keys.js",
    "loading.js",
    "markdown.js",
    "metrics.js",
    "options.js",
    "page.css",
    "picker.js",
    "recent.js",
    "request.js",
    "schema.js",
    "server.js",
    "sidebar.js",
    "snippets.js",
    "sse.js",
    "store.js",
    "timing.js",
    "turns.js",
    "vendor/bash.min.js",
    "vendor/core.min.js",
    "vendor/cpp.min.js",
    "vendor/diff.min.js",
    "vendor/go.min.js",
    "vendor/java.min.js",
    "vendor/javascript.min.js",
    "vendor/json.min.js",
    "vendor/marked.esm.js",
    "vendor/purify.min.js",
    "vendor/python.min.js",
    "vendor/rust.min.js",
    "vendor/sql.min.js",
    "vendor/typescript.min.js",
    "vendor/xml.min.js",
    "vendor/yaml.min.js",
)
"""Listed, because listing the folder would read it at every start."""
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    # Markup reaches the document through DOMPurify alone.
    " require-trusted-types-for 'script'; trusted-types dompurify"
)
_PAGE_HEADERS = {
    # The files name each other without a version: a browser asks again, and gets a 304.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_SWAGGER = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pilotlight</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="swagger/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
});
</script>
</body>
</html>
"""


def _page(operation_id: str, summary: str, description: str, media_type: str) -> Operation:
    kind = "string" if media_type == "text/html" else "object"
    content = Content(media_type=media_type, schema={"type": kind})
    return Operation(
        id=operation_id,
        tag="document",
        summary=summary,
        responses={200: SuccessResponse(description=description, content=[content])},
        public=True,
    )


_JSON_PAGE = _page("getOpenApiJson", "This document", "The document.", "application/json")
_YAML_PAGE = _page("getOpenApiYaml", "This document as YAML", "The document.", _YAML)
_SWAGGER_PAGE = _page("getSwagger", "Swagger UI", "Swagger UI.", "text/html")

_ROOT = Operation(
    id="getRoot",
    tag="document",
    summary="Redirect to Swagger UI",
    responses={307: SuccessResponse(description="Swagger UI is at `/swagger`.")},
    public=True,
    documented=False,  # for people; clients do not need it
)

_CHAT_PAGE = Operation(
    id="getPage",
    tag="document",
    summary="The chat page",
    responses={200: SuccessResponse(description="The page.")},
    public=True,
    documented=False,
)


def _file_name(names: Sequence[str], example: str) -> Parameter:
    return Parameter(
        name="file",
        place="path",
        description="The file's name.",
        schema={"type": "string", "enum": list(names)},
        required=True,
        example=example,
    )


_PAGE_FILE = Operation(
    id="getPageFile",
    tag="document",
    summary="A file of the chat page",
    parameters=[_file_name(_PAGE_FILES, "app.js")],
    responses={200: SuccessResponse(description="The file.")},
    errors=[PathNotFound],
    public=True,
    documented=False,
)

_FILE = Operation(
    id="getSwaggerFile",
    tag="document",
    summary="A file of Swagger UI",
    parameters=[_file_name(list(_FILES), "swagger-ui.css")],
    responses={
        200: SuccessResponse(
            description="The file.",
            content=[
                Content(media_type=kind, schema={"type": "string"}) for kind in _FILES.values()
            ],
        )
    },
    errors=[PathNotFound],
    public=True,
)


def page_handlers(settings: Settings) -> Sequence[HTTPRouteHandler]:
    """Return the endpoints of the chat page, or without it a redirect to Swagger UI."""

    @get("/", opt={"operation": _ROOT})
    async def root() -> Response[bytes]:
        # Temporary, because browsers cache a permanent redirect, and the page may be turned on.
        there = {"Location": "swagger"}
        return Response(b"", status_code=307, headers=there, media_type=MediaType.TEXT)

    @get("/", opt={"operation": _CHAT_PAGE})
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        html = _page_html(settings.chat_completions_path if settings.chat_completions else "")
        return _unless_cached(request, html, MediaType.HTML)

    @get("/page/{file:path}", opt={"operation": _PAGE_FILE})
    async def page_file(request: Request[Any, Any, Any], file: FromPath[str]) -> Response[bytes]:
        name = file.removeprefix("/")
        if name not in _PAGE_FILES:
            raise PathNotFound(f"no file {name!r} at /page")
        media_type = "text/css" if name.endswith(".css") else "text/javascript"
        return _unless_cached(request, (_PAGE_FOLDER / name).read_bytes(), media_type)

    return (page, page_file) if settings.page else (root,)


def _page_html(chat_path: str) -> bytes:
    """Return the page for a server whose chat endpoint is at *chat_path*; empty if it has none."""
    html = (_PAGE_FOLDER / "index.html").read_bytes()
    # A setting's path has no character that HTML would have to escape.
    return html.replace(b"{{chat_path}}", chat_path.removeprefix("/").encode())


def _unless_cached(
    request: Request[Any, Any, Any], content: bytes, media_type: str
) -> Response[bytes]:
    """Return *content*, or a 304 if the client has it (RFC 9110, 13.1.2)."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = _PAGE_HEADERS | {"ETag": tag}
    known = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or f"W/{tag}" in known:  # a proxy that compresses weakens the tag
        return Response(b"", status_code=304, headers=headers, media_type=media_type)
    return Response(content, headers=headers, media_type=media_type)


def docs_handlers(document: Callable[[], dict[str, Any]]) -> Sequence[HTTPRouteHandler]:
    """Return the endpoints; *document* is called at the first request."""
    as_json = cache(lambda: msgspec.json.encode(document()))
    as_yaml = cache(lambda: document_yaml(document()))

    @get(
        "/openapi.json",
        opt={"operation": _JSON_PAGE},
    )
    async def openapi_json() -> Response[bytes]:
        return Response(as_json(), media_type=MediaType.JSON)

    @get(
        "/openapi.yaml",
        opt={"operation": _YAML_PAGE},
    )
    async def openapi_yaml() -> Response[bytes]:
        return Response(as_yaml(), media_type=_YAML)

    @get(
        "/swagger",
        opt={"operation": _SWAGGER_PAGE},
    )
    async def swagger(request: Request[Any, Any, Any]) -> Response[str]:
        if request.scope["raw_path"].endswith(b"/"):  # its files are not below /swagger/swagger/
            there = {"Location": "../swagger"}
            return Response("", status_code=307, headers=there, media_type=MediaType.TEXT)
        return Response(_SWAGGER, media_type=MediaType.HTML)

    @get("/swagger/{file:str}", opt={"operation": _FILE})
    async def swagger_file(file: FromPath[str]) -> Response[bytes]:
        if file not in _FILES:
            raise PathNotFound(f"no file {file!r} at /swagger")
        content = (_FOLDER / file).read_bytes()  # two small files: a thread would cost more
        return Response(content, media_type=_FILES[file], headers=_CACHE)

    return openapi_json, openapi_yaml, swagger, swagger_file


def document_yaml(document: dict[str, Any]) -> bytes:
    """Return *document* as YAML, in the order in which it was built."""
    import yaml  # noqa: PLC0415 - needed for this page alone

    # Through JSON and back: PyYAML writes shared objects as anchors and aliases.
    plain = msgspec.json.decode(msgspec.json.encode(document))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).encode()

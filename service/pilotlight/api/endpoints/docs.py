"""`/`, `/openapi.json`, `/openapi.yaml` and `/swagger`, all from this process: no CDN."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import MediaType, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.api.serving import get
from pilotlight.errors import PathNotFound

_FOLDER = Path(__file__).parent / "swagger"
_YAML = "application/yaml"
_FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_CACHE = {"Cache-Control": "public, max-age=86400"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pilotlight</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/swagger/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/swagger/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "/openapi.json",
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

_FILE = Operation(
    id="getSwaggerFile",
    tag="document",
    summary="A file of Swagger UI",
    parameters=[
        Parameter(
            name="file",
            place="path",
            description="The file's name.",
            schema={"type": "string", "enum": list(_FILES)},
            required=True,
            example="swagger-ui.css",
        )
    ],
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


def docs_handlers(document: Callable[[], dict[str, Any]]) -> Sequence[HTTPRouteHandler]:
    """Return the endpoints; *document* is called at the first request."""
    as_json = cache(lambda: msgspec.json.encode(document()))
    as_yaml = cache(lambda: document_yaml(document()))

    @get("/", opt={"operation": _ROOT})
    async def root() -> Response[bytes]:
        # Temporary, because browsers cache a permanent redirect, and the page may change.
        there = {"Location": "/swagger"}
        return Response(b"", status_code=307, headers=there, media_type=MediaType.TEXT)

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
    async def swagger() -> Response[str]:
        return Response(_PAGE, media_type=MediaType.HTML)

    @get("/swagger/{file:str}", opt={"operation": _FILE})
    async def swagger_file(file: FromPath[str]) -> Response[bytes]:
        if file not in _FILES:
            raise PathNotFound(f"no file {file!r} at /swagger")
        content = (_FOLDER / file).read_bytes()  # two small files: a thread would cost more
        return Response(content, media_type=_FILES[file], headers=_CACHE)

    return root, openapi_json, openapi_yaml, swagger, swagger_file


def document_yaml(document: dict[str, Any]) -> bytes:
    """Return *document* as YAML, in the order in which it was built."""
    import yaml  # noqa: PLC0415 - needed for this page alone

    # Through JSON and back: PyYAML writes shared objects as anchors and aliases.
    plain = msgspec.json.decode(msgspec.json.encode(document))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).encode()

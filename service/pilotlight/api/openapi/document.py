"""The OpenAPI document, generated from the routes, their operations and the wire types.

Litestar's own generator is not used: it moves bounds out of unions, loses minimums of 0 and omits
`additionalProperties: false` (Litestar 2.25 with msgspec 0.22). `msgspec.json.schema_components`
describes exactly what the decoder accepts.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar

from pilotlight import __version__
from pilotlight.api.framework import operations
from pilotlight.api.http.content_coding import SUPPORTED
from pilotlight.api.http.error_bodies import ANTHROPIC, ErrorShape
from pilotlight.api.http.rate_limit_headers import DURATION
from pilotlight.api.openapi.operation import (
    Content,
    Operation,
    Parameter,
    SuccessResponse,
)
from pilotlight.api.openapi.wire_schemas import REF, finished, merged, spelled_out
from pilotlight.errors import (
    HeadTooLarge,
    InvalidApiKey,
    MalformedRequest,
    RateLimited,
    RequestTimeout,
    ServiceError,
    TimeLimitExceeded,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from pilotlight.schema.base import Request
from pilotlight.schema.declared import DeclaredTool, schema_of_declared

_TAGS = [
    {"name": "chat", "description": "Chat completions."},
    {"name": "responses", "description": "OpenAI's Responses API."},
    {"name": "messages", "description": "Anthropic's Messages API."},
    {"name": "completions", "description": "Text completions."},
    {"name": "tokens", "description": "Tokenize and detokenize."},
    {"name": "embeddings", "description": "Embeddings of texts."},
    {"name": "rerank", "description": "Documents by their relevance to a query."},
    {"name": "streams", "description": "Streams whose connection broke."},
    {"name": "prompt_cache", "description": "Prompts that are kept for later requests."},
    {"name": "adapters", "description": "LoRA adapters of models."},
    {"name": "models", "description": "The models that are served."},
    {"name": "health", "description": "Probes and metrics."},
    {"name": "document", "description": "This document."},
]

_RETRY_HEADERS = {
    "Retry-After": {
        "description": "Seconds after which to retry, from 1 to 60.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60},
    },
    "retry-after-ms": {
        "description": "The same in milliseconds; OpenAI's SDKs read it first.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60000},
    },
}
_REQUEST_ID = "req_5f0c7d1e9a3b48c26d704e1f"
_ID_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 128}


def _rate_headers(counted: str) -> dict[str, Any]:
    """Return the headers of a caller's limit of *counted* a minute."""
    of = f"{counted} a minute; omitted without such a limit."
    return {
        f"RateLimit{counted.title()}": {
            "description": f"The caller's limit of {of}",
            "schema": {"type": "integer", "minimum": 1},
            "example": 60,
        },
        f"RateRemaining{counted.title()}": {
            "description": f"What remains of the limit of {of}",
            "schema": {"type": "integer", "minimum": 0},
            "example": 59,
        },
        f"RateReset{counted.title()}": {
            "description": f"The time until the full limit is available again, of {of}",
            "schema": {"type": "string", "pattern": DURATION},
            "example": "1m30s",
        },
    }


_HEADERS = {
    "XRequestId": {
        "description": (
            "The request's id in the server's log: the client's own `x-request-id` if it is valid,"
            " or a new one."
        ),
        "schema": _ID_SCHEMA,
        "example": _REQUEST_ID,
    },
    "RequestId": {
        "description": "The same, by the name that Anthropic's SDKs read.",
        "schema": _ID_SCHEMA,
        "example": _REQUEST_ID,
    },
    **_rate_headers("requests"),
    **_rate_headers("tokens"),
}
"""Headers of many responses, by the name of their component."""
_RATE_HEADERS = {
    f"x-ratelimit-{what}-{counted}": {"$ref": f"#/components/headers/{name}"}
    for name, what, counted in (
        ("RateLimitRequests", "limit", "requests"),
        ("RateRemainingRequests", "remaining", "requests"),
        ("RateResetRequests", "reset", "requests"),
        ("RateLimitTokens", "limit", "tokens"),
        ("RateRemainingTokens", "remaining", "tokens"),
        ("RateResetTokens", "reset", "tokens"),
    )
}
"""Headers of a caller's limits."""
_ID_HEADERS = {"x-request-id": {"$ref": "#/components/headers/XRequestId"}}
_ANTHROPIC_ID_HEADERS = {"request-id": {"$ref": "#/components/headers/RequestId"}}
_SHOULD_RETRY = {
    "x-should-retry": {
        "description": "Whether OpenAI's SDKs retry: `false` if a retry cannot help.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}
_NO_RETRY = {
    "x-should-retry": {
        "description": "Stops retries of OpenAI's SDKs: they would take as long.",
        "schema": {"type": "string", "const": "false"},
    }
}
_CLOSES = {
    "Connection": {
        "description": "The connection closes, because the rest of the request was not read.",
        "schema": {"type": "string", "const": "close"},
    }
}
_ACCEPTED = {
    "Accept-Encoding": {
        "description": "The supported content encodings, if the body had another one.",
        "schema": {"type": "string", "const": ", ".join(SUPPORTED)},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "The authentication scheme.",
        "schema": {"type": "string", "const": "Bearer"},
    }
}
_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as OpenAI's SDKs send it.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key, as Anthropic's SDKs send it.",
    },
}


def build_document(
    app: Litestar, *, chat_completions_path: str, key_required: bool = False
) -> dict[str, Any]:
    """Return the document of *app*, whose every route carries an operation.

    `info.x-chat-completions-path` is the chat endpoint's path, even if it is not served.
    Without *key_required* the API key is optional.
    """
    served = [one for one in operations(app) if one[2].documented]
    asked = {kind for _, _, operation in served for kind in _asked(operation)}
    sent = {kind for _, _, operation in served for kind in _sent(operation)}
    ordered = sorted(asked | sent, key=lambda kind: kind.__name__)
    # The structs of tools are reached by the hook only, which msgspec does not follow.
    ordered += [kind.offered for kind in DeclaredTool.__subclasses__()]
    schemas, components = msgspec.json.schema_components(
        ordered, schema_hook=partial(schema_of_declared, ref_template=REF), ref_template=REF
    )
    by_type = dict(zip(ordered, schemas, strict=True))
    _free_untagged(components)
    components = merged(components, _documented_as(Request.__subclasses__()))
    components = finished(
        components,
        requests=[by_type[kind] for kind in asked],
        responses=[by_type[kind] for kind in sent],
    )
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in served:
        described = _operation(operation, by_type)
        if method == "post":
            _add_rate_headers(described["responses"])
        paths.setdefault(path, {})[method] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pilotlight",
            "version": __version__,
            "description": "Language models behind the OpenAI API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "x-chat-completions-path": chat_completions_path,
        },
        # Relative to this document: a proxy may serve it under a prefix. The default is `/`.
        "servers": [{"url": "."}],
        "tags": _TAGS,
        # Once for all operations: openapi-python-client 0.29 takes a key that is optional in one
        # operation for a required one.
        "security": [
            *({name: []} for name in _SECURITY_SCHEMES),
            *([] if key_required else [{}]),
        ],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "headers": _HEADERS,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _free_untagged(components: dict[str, Any]) -> None:
    """Make the tag optional for types that may have none."""
    for kind in Request.__subclasses__():
        if kind.untagged and kind.__name__ in components:
            components[kind.__name__]["required"].remove(kind.__struct_config__.tag_field)


def _documented_as(kinds: Iterable[type[Request]]) -> dict[str, str]:
    return {kind.__name__: kind.documented_as for kind in kinds if kind.documented_as}


def _asked(operation: Operation) -> Iterable[Any]:
    return [operation.body.type] if operation.body and operation.body.type is not None else []


def _sent(operation: Operation) -> Iterable[Any]:
    contents = [content for one in operation.responses.values() for content in one.content]
    types = [kind for content in contents for kind in (content.type, *content.mentions)]
    return [operation.error_shape.wire_type, *(kind for kind in types if kind is not None)]


def _operation(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.public:
        described["security"] = []
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body:
        content = _content([operation.body], schemas)
        described["requestBody"] = {"required": True, "content": content}
    responses = {
        str(status): _response(one, schemas) for status, one in operation.responses.items()
    }
    errors = [*operation.errors, MalformedRequest, HeadTooLarge]
    if not operation.public:  # the guard's errors
        errors = list(dict.fromkeys((InvalidApiKey, *errors, RateLimited)))
    responses |= _errors(errors, operation.error_shape, schemas)
    headers = _ID_HEADERS
    if operation.error_shape is ANTHROPIC:
        headers = _ID_HEADERS | _ANTHROPIC_ID_HEADERS
    for response in responses.values():
        response["headers"] = headers | response.get("headers", {})
    described["responses"] = dict(sorted(responses.items()))
    return described


def _add_rate_headers(responses: Mapping[str, Any]) -> None:
    """Add the headers of a caller's limits to responses behind the guard."""
    for status, response in responses.items():
        if int(status) not in (InvalidApiKey.status, HeadTooLarge.status):
            response["headers"] |= _RATE_HEADERS


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "required": parameter.required,
        "schema": dict(parameter.schema),
        "example": parameter.example,
    }


def _response(response: SuccessResponse, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": response.description}
    if response.content:
        described["content"] = _content(response.content, schemas)
    return described


def _content(contents: Sequence[Content], schemas: Mapping[Any, Any]) -> dict[str, Any]:
    described = {}
    for content in contents:
        given = content.schema if content.schema is not None else schemas[content.type]
        described[content.media_type] = {"schema": spelled_out(given)}
        if content.examples:
            examples = {name: {"value": value} for name, value in content.examples.items()}
            described[content.media_type]["examples"] = examples
    return described


def _errors(
    errors: Sequence[type[ServiceError]], shape: ErrorShape, schemas: Mapping[Any, Any]
) -> dict[str, dict[str, Any]]:
    """Group *errors* by status: OpenAPI has one response for each."""
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        str(status): _error(status, kinds, shape, schemas) for status, kinds in by_status.items()
    }


def _error(
    status: int,
    kinds: Sequence[type[ServiceError]],
    shape: ErrorShape,
    schemas: Mapping[Any, Any],
) -> dict[str, Any]:
    codes = ", ".join(f"`{kind.code}`" for kind in kinds)
    examples = {kind.code: _example(kind, shape) for kind in kinds}
    content = Content(type=shape.wire_type, examples=examples)
    described: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {codes}.",
        "content": _content([content], schemas),
    }
    headers: dict[str, Any] = {}
    if any(issubclass(kind, TooManyRequests | Unavailable) for kind in kinds):
        headers |= _RETRY_HEADERS
    if any(issubclass(kind, Unavailable) for kind in kinds):
        headers |= _SHOULD_RETRY
    if TimeLimitExceeded in kinds:
        headers |= _NO_RETRY
    if UnsupportedMediaType in kinds:
        headers |= _ACCEPTED
    if InvalidApiKey in kinds:
        headers |= _CHALLENGE
    if any(issubclass(kind, RequestTimeout | HeadTooLarge | MalformedRequest) for kind in kinds):
        headers |= _CLOSES
    if headers:
        described["headers"] = headers
    return described


def _example(kind: type[ServiceError], shape: ErrorShape) -> Any:
    summary = (kind.__doc__ or "").partition("\n")[0]
    return msgspec.to_builtins(shape.body(kind, summary, None, _REQUEST_ID))

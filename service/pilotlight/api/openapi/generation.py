"""What operations that use a model have in common in the document."""

from collections.abc import Mapping, Sequence
from typing import Any

from pilotlight.api.openapi.operation import Parameter
from pilotlight.errors import (
    ContextLengthExceeded,
    ImagesUnsupported,
    InferenceError,
    InsufficientMemory,
    InvalidImage,
    InvalidImageUrl,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    ServiceError,
    ShuttingDown,
    TimeLimitExceeded,
    UnsupportedMediaType,
)

PREFER = Parameter(
    name="Prefer",
    place="header",
    description=("`wait=N`: seconds to wait for a model that is loading, from 0 to 45 (RFC 7240)."),
    schema={"type": "string"},
    example="wait=30",
)

ERRORS: Sequence[type[ServiceError]] = (
    InvalidRequest,
    ContextLengthExceeded,
    ModelNotFound,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedMediaType,
    QueueFull,
    RateLimited,
    InferenceError,
    ModelLoading,
    ModelLoadFailed,
    InsufficientMemory,
    ShuttingDown,
    TimeLimitExceeded,
)

IMAGE_ERRORS: Sequence[type[ServiceError]] = (InvalidImage, InvalidImageUrl, ImagesUnsupported)
"""Of requests with conversations, whose messages may have images."""


def event_of(chunk: str) -> Mapping[str, Any]:
    """Return the schema of a stream's events, whose data is the component *chunk*."""
    return {
        "description": (
            "An event of the stream. Its data is a chunk, an error if the stream fails, and at the"
            " end `[DONE]`."
        ),
        "type": "object",
        "properties": {
            "data": {
                "anyOf": [
                    {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": {
                            "oneOf": [
                                {"$ref": f"#/components/schemas/{chunk}"},
                                {"$ref": "#/components/schemas/ErrorBody"},
                            ]
                        },
                    },
                    {"const": "[DONE]"},
                ]
            }
        },
        "required": ["data"],
    }

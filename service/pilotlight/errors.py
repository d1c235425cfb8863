"""The errors that clients get, each with its status, type, code, param and headers.

    ServiceError
    ├── InvalidRequest              400  invalid_request_error  invalid_request_error
    │   ├── ContextLengthExceeded   400  invalid_request_error  context_length_exceeded
    │   ├── InvalidImage            400  invalid_request_error  invalid_image
    │   ├── InvalidImageUrl         400  invalid_request_error  invalid_image_url
    │   ├── ImagesUnsupported       400  invalid_request_error  images_unsupported
    │   ├── InvalidApiKey           401  invalid_request_error  invalid_api_key         WWW-Auth…
    │   ├── MethodNotAllowed        405  invalid_request_error  method_not_allowed      Allow
    │   ├── RequestTimeout          408  invalid_request_error  request_timeout         Connection
    │   ├── RequestTooLarge         413  invalid_request_error  request_too_large
    │   ├── UnsupportedMediaType    415  invalid_request_error  unsupported_media_type  Accept-E…
    │   ├── HeadTooLarge            431  invalid_request_error  head_too_large          Connection
    │   ├── MalformedRequest        400  invalid_request_error  malformed_request       Connection
    │   ├── PreviousResponseNotFound  400  invalid_request_error  previous_response_not_found
    │   ├── StreamNotFound          404  invalid_request_error  stream_not_found
    │   ├── ThreadNotFound          404  invalid_request_error  thread_not_found
    │   └── PathNotFound            404  invalid_request_error  not_found
    ├── ModelNotFound               404  model_not_found        model_not_found
    ├── TooManyRequests             429                                                 Retry-After
    │   ├── QueueFull               429  rate_limit_error       queue_full
    │   └── RateLimited             429  rate_limit_error       rate_limit_exceeded
    ├── InferenceError              500  inference_error        inference_error
    ├── TimeLimitExceeded           504  server_error           time_limit_exceeded     see below
    └── Unavailable                 503                                                 see below
        ├── ShuttingDown            503  server_error           shutting_down
        ├── StorageUnavailable      503  server_error           storage_unavailable
        ├── ModelLoading            503  model_loading          model_loading
        └── ModelLoadFailed         503  model_load_failed      model_load_failed
            ├── InsufficientMemory  503  model_load_failed      insufficient_memory
            └── ModelUnsupported    400  invalid_request_error  model_unsupported

A 503 carries Retry-After and `x-should-retry: true`, or only `x-should-retry: false` if a retry
cannot help. A 504 carries the latter too: the SDKs retry it by default, and a retry would take as
long and time out as well.

Errors are raised where the cause is known, and mapped to a response once, in `api/http/errors.py`.
A message names the thing and the value, and contains nothing that clients must not see.
"""

from typing import ClassVar

_LONGEST = 4096
"""Characters of a message: a value or a field's name that it quotes can be as long as a body."""


class ServiceError(Exception):
    """An error of the table above; *param* is the field of the request that is wrong, if any."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.message = _shortened(message)
        super().__init__(self.message)
        self.param = None if param is None else _shortened(param)
        self.retry_after: float | None = None
        """Seconds until a retry is worthwhile; None if that is unknown."""
        self.should_retry: bool | None = None
        """The value of `x-should-retry`; None leaves the decision to the SDKs."""
        self.accept_encoding: str | None = None
        """Accepted content encodings of a body, for the `Accept-Encoding` header."""
        self.allow: str | None = None
        """Methods of the path, for the `Allow` header."""
        self.challenge: str | None = None
        """Authentication scheme, for the `WWW-Authenticate` header."""
        self.closes = False
        """Whether the connection is closed, because the rest of the request was not received."""


class InvalidRequest(ServiceError):
    """The request is malformed, or asks for something that is not supported."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The rendered prompt leaves no room for an answer."""

    code = "context_length_exceeded"


class InvalidImage(InvalidRequest):
    """An image is of an unsupported format, is damaged, or exceeds a limit."""

    code = "invalid_image"


class InvalidImageUrl(InvalidRequest):
    """An image's URL is not allowed, or the image was not received from there."""

    code = "invalid_image_url"


class ImagesUnsupported(InvalidRequest):
    """The request has an image, and the model reads text only."""

    code = "images_unsupported"


class InvalidApiKey(InvalidRequest):
    """The request carries no valid API key, and no trusted proxy names its user."""

    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.challenge = "Bearer"


class MethodNotAllowed(InvalidRequest):
    """The path does not support the method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(InvalidRequest):
    """The body was not received within `receive_timeout` seconds."""

    status = 408
    code = "request_timeout"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.closes = True


class RequestTooLarge(InvalidRequest):
    """The body is larger than `max_request_bytes`."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The body is not declared as JSON, or has an unsupported content encoding."""

    status = 415
    code = "unsupported_media_type"

    def __init__(self, message: str, *, accept_encoding: str | None = None) -> None:
        super().__init__(message)
        self.accept_encoding = accept_encoding


class HeadTooLarge(InvalidRequest):
    """The request line and headers are larger than `max_header_bytes`."""

    status = 431
    code = "head_too_large"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.closes = True


class MalformedRequest(InvalidRequest):
    """The request line, a header or the framing of the body is not valid HTTP."""

    code = "malformed_request"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.closes = True


class PathNotFound(InvalidRequest):
    """No endpoint has this path."""

    status = 404
    code = "not_found"


class PreviousResponseNotFound(InvalidRequest):
    """The request continues a response, and none is stored."""

    code = "previous_response_not_found"


class StreamNotFound(InvalidRequest):
    """The stream to resume is not kept, or is another caller's."""

    status = 404
    code = "stream_not_found"


class ThreadNotFound(InvalidRequest):
    """The request continues a conversation of Anthropic's threads, and none is stored."""

    status = 404
    code = "thread_not_found"


class ModelNotFound(ServiceError):
    """No model has this name; *nearest* is one that has a similar name."""

    status = 404
    type = "model_not_found"
    code = "model_not_found"

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message, param="model")
        self.nearest = nearest


class TooManyRequests(ServiceError):
    """The client sends too much; *retry_after* is in seconds."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(TooManyRequests):
    """`max_queue` requests wait for this model already."""

    code = "queue_full"


class RateLimited(TooManyRequests):
    """The caller has reached one of its limits."""

    code = "rate_limit_exceeded"


class InferenceError(ServiceError):
    """The engine failed, or the server has a bug."""

    status = 500
    type = "inference_error"
    code = "inference_error"


class TimeLimitExceeded(ServiceError):
    """The response was not complete within `request_timeout` seconds."""

    status = 504
    code = "time_limit_exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.should_retry = False


class Unavailable(ServiceError):
    """The model or the server is unavailable; a retry can help if *retry_after* is given."""

    status = 503

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.should_retry = retry_after is not None


class ShuttingDown(Unavailable):
    """The server shuts down; another instance may serve the request."""

    type = "server_error"
    code = "shutting_down"


_UNTIL_ANOTHER = 2.0
"""Seconds in which a platform starts another instance, or routes the request to a running one."""


def shutting_down() -> ShuttingDown:
    """Return the error for a request that arrives during the shutdown, or waits for a load then."""
    return ShuttingDown("the server is shutting down", retry_after=_UNTIL_ANOTHER)


class StorageUnavailable(Unavailable):
    """The storage of cached prompts cannot be used now."""

    type = "server_error"
    code = "storage_unavailable"


class ModelLoading(Unavailable):
    """The model is loading."""

    type = "model_loading"
    code = "model_loading"


class ModelLoadFailed(Unavailable):
    """The model could not be loaded; without Retry-After a retry cannot help."""

    type = "model_load_failed"
    code = "model_load_failed"


class InsufficientMemory(ModelLoadFailed):
    """The model does not fit into memory; the message has both figures."""

    code = "insufficient_memory"


class ModelUnsupported(ModelLoadFailed):
    """The file is intact, and no installed backend can serve it: request another model."""

    status = 400
    type = "invalid_request_error"
    code = "model_unsupported"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.param = "model"


def _shortened(text: str) -> str:
    """Return *text* without the middle of a long one: its end says what would be right."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"

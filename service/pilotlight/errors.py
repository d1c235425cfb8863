"""The errors a client can meet; each knows its status, type, code, param and headers.

    ServiceError
    ├── InvalidRequest              400  invalid_request_error  invalid_request_error
    │   ├── ContextLengthExceeded   400  invalid_request_error  context_length_exceeded
    │   ├── InvalidApiKey           401  invalid_request_error  invalid_api_key         WWW-Auth…
    │   ├── MethodNotAllowed        405  invalid_request_error  method_not_allowed      Allow
    │   ├── RequestTimeout          408  invalid_request_error  request_timeout         Connection
    │   ├── RequestTooLarge         413  invalid_request_error  request_too_large
    │   ├── UnsupportedMediaType    415  invalid_request_error  unsupported_media_type  Accept-E…
    │   ├── HeadTooLarge            431  invalid_request_error  head_too_large          Connection
    │   ├── PreviousResponseNotFound  400  invalid_request_error  previous_response_not_found
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
        ├── ModelLoading            503  model_loading          model_loading
        └── ModelLoadFailed         503  model_load_failed      model_load_failed
            ├── InsufficientMemory  503  model_load_failed      insufficient_memory
            └── ModelUnsupported    400  invalid_request_error  model_unsupported

A 503 carries Retry-After with `x-should-retry: true`, or where no try can help
`x-should-retry: false` alone. A 504 carries that too: the SDKs would try again by themselves, and
another try would take as long and be given up as well.

Errors are raised where the cause is known, and mapped to a response once, in `api/http/errors.py`.
A message names the thing and the value, and carries nothing that a client must not see.
"""

from typing import ClassVar


class ServiceError(Exception):
    """An error of the table above; *param* is the request's field, if one is at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after: float | None = None
        """Seconds until another try is worth it, or None where that is not known."""
        self.should_retry: bool | None = None
        """What `x-should-retry` tells the SDKs; None leaves it to them."""
        self.accept_encoding: str | None = None
        """The content encodings that a body may have, for the `Accept-Encoding` header."""
        self.allow: str | None = None
        """The methods that a path knows, for the `Allow` header."""
        self.challenge: str | None = None
        """How a caller can say who it is, for the `WWW-Authenticate` header."""
        self.closes = False
        """Whether the connection ends with it, because the rest of the request never came."""


class InvalidRequest(ServiceError):
    """The request cannot be understood or honoured as it stands."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The rendered prompt leaves no room for an answer."""

    code = "context_length_exceeded"


class InvalidApiKey(InvalidRequest):
    """The request carries no API key that is known, and no proxy vouches for its user."""

    status = 401
    code = "invalid_api_key"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.challenge = "Bearer"


class MethodNotAllowed(InvalidRequest):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(InvalidRequest):
    """The body was not there in `receive_timeout` seconds."""

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
    """The body is not declared as JSON, or compressed in a way that is not known."""

    status = 415
    code = "unsupported_media_type"

    def __init__(self, message: str, *, accept_encoding: str | None = None) -> None:
        super().__init__(message)
        self.accept_encoding = accept_encoding


class HeadTooLarge(InvalidRequest):
    """The request's first line and headers are larger than `max_header_bytes`."""

    status = 431
    code = "head_too_large"

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
    """Not now; *retry_after* is in seconds."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(TooManyRequests):
    """As many requests wait for this model as may."""

    code = "queue_full"


class RateLimited(TooManyRequests):
    """The caller has had what it may."""

    code = "rate_limit_exceeded"


class InferenceError(ServiceError):
    """The engine failed, or something of ours did."""

    status = 500
    type = "inference_error"
    code = "inference_error"


class TimeLimitExceeded(ServiceError):
    """The answer was not whole in `request_timeout` seconds."""

    status = 504
    code = "time_limit_exceeded"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.should_retry = False


class Unavailable(ServiceError):
    """Not now, or not at all: with *retry_after* seconds it is worth another try."""

    status = 503

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.should_retry = retry_after is not None


class ShuttingDown(Unavailable):
    """The process ends; another one may take the request."""

    type = "server_error"
    code = "shutting_down"


class ModelLoading(Unavailable):
    """The model is on its way."""

    type = "model_loading"
    code = "model_loading"


class ModelLoadFailed(Unavailable):
    """The model could not be loaded; without a Retry-After another try cannot help."""

    type = "model_load_failed"
    code = "model_load_failed"


class InsufficientMemory(ModelLoadFailed):
    """The model does not fit; the message has both figures."""

    code = "insufficient_memory"


class ModelUnsupported(ModelLoadFailed):
    """The file is whole, and no backend here serves what it holds: another model is to be asked."""

    status = 400
    type = "invalid_request_error"
    code = "model_unsupported"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.param = "model"

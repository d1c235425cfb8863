"""The error tree: what its table says is what its classes are."""

import re

import pytest

from pilotlight import errors
from pilotlight.errors import ServiceError


def descendants(kind: type[ServiceError]) -> list[type[ServiceError]]:
    """Return every error below *kind*."""
    return [one for child in kind.__subclasses__() for one in (child, *descendants(child))]


TABLE = [
    ("InvalidRequest", 400, "invalid_request_error", "invalid_request_error"),
    ("ContextLengthExceeded", 400, "invalid_request_error", "context_length_exceeded"),
    ("InvalidImage", 400, "invalid_request_error", "invalid_image"),
    ("InvalidImageUrl", 400, "invalid_request_error", "invalid_image_url"),
    ("ImagesUnsupported", 400, "invalid_request_error", "images_unsupported"),
    ("InvalidApiKey", 401, "invalid_request_error", "invalid_api_key"),
    ("MalformedRequest", 400, "invalid_request_error", "malformed_request"),
    ("MethodNotAllowed", 405, "invalid_request_error", "method_not_allowed"),
    ("RequestTimeout", 408, "invalid_request_error", "request_timeout"),
    ("RequestTooLarge", 413, "invalid_request_error", "request_too_large"),
    ("UnsupportedMediaType", 415, "invalid_request_error", "unsupported_media_type"),
    ("HeadTooLarge", 431, "invalid_request_error", "head_too_large"),
    ("PathNotFound", 404, "invalid_request_error", "not_found"),
    ("ModelNotFound", 404, "model_not_found", "model_not_found"),
    ("QueueFull", 429, "rate_limit_error", "queue_full"),
    ("RateLimited", 429, "rate_limit_error", "rate_limit_exceeded"),
    ("InferenceError", 500, "inference_error", "inference_error"),
    ("TimeLimitExceeded", 504, "server_error", "time_limit_exceeded"),
    ("ShuttingDown", 503, "server_error", "shutting_down"),
    ("StorageUnavailable", 503, "server_error", "storage_unavailable"),
    ("ModelLoading", 503, "model_loading", "model_loading"),
    ("ModelLoadFailed", 503, "model_load_failed", "model_load_failed"),
    ("InsufficientMemory", 503, "model_load_failed", "insufficient_memory"),
    ("PreviousResponseNotFound", 400, "invalid_request_error", "previous_response_not_found"),
    ("StreamNotFound", 404, "invalid_request_error", "stream_not_found"),
    ("ThreadNotFound", 404, "invalid_request_error", "thread_not_found"),
    ("ModelUnsupported", 400, "invalid_request_error", "model_unsupported"),
]


def test_every_error_is_one_of_the_table():
    """Each has its status, type and code; no two have the same code."""
    abstract = (errors.TooManyRequests, errors.Unavailable)
    concrete = [one for one in descendants(ServiceError) if one not in abstract]
    rows = [(one.__name__, one.status, one.type, one.code) for one in concrete]
    assert sorted(rows) == sorted(TABLE)
    assert len({code for *_, code in rows}) == len(rows)


@pytest.mark.parametrize(("name", "status", "kind", "code"), TABLE)
def test_docstring_draws_it(name, status, kind, code):
    """The tree in the module's docstring matches the classes."""
    assert re.search(rf"── {name} +{status} +{kind} +{code}\b", errors.__doc__)


def test_an_error_knows_its_parameter():
    """The request's field is kept, and absent where none is at fault."""
    error = errors.InvalidRequest("stop is empty", param="stop")
    assert (error.message, str(error), error.param) == ("stop is empty", "stop is empty", "stop")
    assert errors.InvalidRequest("no JSON").param is None


@pytest.mark.parametrize(
    ("error", "retry_after", "should_retry"),
    [
        (errors.ModelLoading("x", retry_after=3.0), 3.0, True),
        (errors.ModelLoadFailed("x", retry_after=3.0), 3.0, True),
        (errors.InsufficientMemory("x", retry_after=None), None, False),
        (errors.QueueFull("x", retry_after=5.0), 5.0, None),
        (errors.InferenceError("x"), None, None),
        (errors.TimeLimitExceeded("x"), None, False),
        (errors.RequestTimeout("x"), None, None),
    ],
)
def test_an_error_knows_whether_to_try_again(error, retry_after, should_retry):
    """Unavailable says yes or no; the rest leaves the judgement to the client."""
    assert (error.retry_after, error.should_retry) == (retry_after, should_retry)


def test_a_key_error_knows_what_to_ask_for():
    """How a caller can say who it is, is kept for the header."""
    assert errors.InvalidApiKey("x").challenge == "Bearer"
    assert errors.InvalidRequest("x").challenge is None


@pytest.mark.parametrize(
    ("kind", "closes"),
    [
        (errors.RequestTimeout, True),
        (errors.HeadTooLarge, True),
        (errors.MalformedRequest, True),
        (errors.RequestTooLarge, False),
    ],
)
def test_an_error_knows_whether_the_connection_ends(kind, closes):
    """It does where the rest of the request never came."""
    assert kind("x").closes == closes


def test_a_method_error_knows_the_methods():
    """What a path allows is kept for the header."""
    assert errors.MethodNotAllowed("x", allow="GET").allow == "GET"

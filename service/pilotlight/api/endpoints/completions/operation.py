"""What the OpenAPI document says of `POST /v1/completions`."""

import msgspec

from pilotlight.api.openapi.generation import ERRORS, PREFER, event_of
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.schema.completions import Completion, CompletionChunk, CompletionRequest

_REQUEST = {"model": "spark", "prompt": "The sun is"}
_HEAD = {"id": "cmpl-1f0c", "object": "text_completion", "created": 1767225600, "model": "spark"}
_COMPLETION = _HEAD | {
    "choices": [{"index": 0, "text": " a star.", "logprobs": None, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "system_fingerprint": "fp_5c2d9a01",
}
_CHUNK = _HEAD | {
    "choices": [{"index": 0, "text": " a", "logprobs": None, "finish_reason": None}],
    "system_fingerprint": "fp_5c2d9a01",
}

OPERATION = Operation(
    id="createCompletion",
    tag="completions",
    summary="Create completions",
    description=(
        "Continues texts or tokens as they are, without a chat template. The output is not parsed"
        " for reasoning or tool calls. With `stream` the response is a stream of server-sent"
        " events: each is a `CompletionChunk`, or an `ErrorBody` if the stream fails, and the last"
        " is `[DONE]`."
    ),
    parameters=[PREFER],
    body=Content(
        type=CompletionRequest,
        examples={
            "text": _REQUEST,
            "stream": _REQUEST | {"stream": True, "stream_options": {"include_usage": True}},
            "several": _REQUEST | {"prompt": ["The sun is", "The moon is"], "n": 2},
            "best": _REQUEST | {"best_of": 4, "logprobs": 2, "max_tokens": 32},
        },
    ),
    responses={
        200: SuccessResponse(
            description="The completion, whole or as a stream.",
            content=[
                Content(type=Completion, examples={"star": _COMPLETION}),
                Content(
                    type=CompletionChunk,
                    media_type="text/event-stream",
                    schema=event_of("CompletionChunk"),
                    examples={
                        "chunk": f"data: {msgspec.json.encode(_CHUNK).decode()}\n\ndata: [DONE]\n\n"
                    },
                ),
            ],
        )
    },
    errors=ERRORS,
)

"""What the OpenAPI document says of `POST /v1/chat/completions`."""

import msgspec

from pilotlight.api.openapi.generation import ERRORS, IMAGE_ERRORS, PREFER, event_of
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.chat.response import ChatCompletion, ChatCompletionChunk

_REQUEST = {"model": "spark", "messages": [{"role": "user", "content": "What is 2+2?"}]}
_USAGE = {
    "prompt_tokens": 15,
    "completion_tokens": 12,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 6},
}
_HEAD = {"id": "chatcmpl-1f0c", "created": 1767225600, "model": "spark"}
_COMPLETION = _HEAD | {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "2 + 2 = 4.",
                "refusal": None,
                "reasoning_content": "2 + 2 = 4",
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
    "system_fingerprint": "fp_5c2d9a01",
    "thought": "2 + 2 = 4",
}
_CHUNK = _HEAD | {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "4"}, "logprobs": None, "finish_reason": None}],
    "system_fingerprint": "fp_5c2d9a01",
}

OPERATION = Operation(
    id="createChatCompletion",
    tag="chat",
    summary="Create a chat completion",
    description=(
        "Generates the next message of a conversation. With `stream` the response is a stream of"
        " server-sent events: each is a `ChatCompletionChunk`, or an `ErrorBody` if the stream"
        " fails, and the last is `[DONE]`."
    ),
    parameters=[PREFER],
    body=Content(
        type=ChatCompletionRequest,
        examples={
            "question": _REQUEST,
            "stream": _REQUEST | {"stream": True, "stream_options": {"include_usage": True}},
            "greedy": _REQUEST | {"temperature": 0, "max_completion_tokens": 64},
        },
    ),
    responses={
        200: SuccessResponse(
            description="The chat completion, whole or as a stream.",
            content=[
                Content(type=ChatCompletion, examples={"sum": _COMPLETION}),
                Content(
                    type=ChatCompletionChunk,
                    media_type="text/event-stream",
                    schema=event_of("ChatCompletionChunk"),
                    examples={
                        "chunk": f"data: {msgspec.json.encode(_CHUNK).decode()}\n\ndata: [DONE]\n\n"
                    },
                ),
            ],
        )
    },
    errors=[*ERRORS, *IMAGE_ERRORS],
)

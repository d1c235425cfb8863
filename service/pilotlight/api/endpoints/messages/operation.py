"""What the OpenAPI document says of `POST /v1/messages` and `/v1/messages/count_tokens`."""

import msgspec

from pilotlight.api.http.error_bodies import ANTHROPIC
from pilotlight.api.openapi.generation import ERRORS, IMAGE_ERRORS, PREFER
from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.errors import ContextLengthExceeded, QueueFull, ThreadNotFound
from pilotlight.schema.messages.error import MessagesError
from pilotlight.schema.messages.events import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
)
from pilotlight.schema.messages.request import CountTokensRequest, MessagesRequest
from pilotlight.schema.messages.response import AnsweredMessage, TokensCount

_PROMPT = {"model": "spark", "messages": [{"role": "user", "content": "What is 2+2?"}]}
_REQUEST = _PROMPT | {"max_tokens": 64}
_MESSAGE = {
    "id": "msg_1f0c",
    "type": "message",
    "role": "assistant",
    "model": "spark",
    "content": [
        {"type": "thinking", "thinking": "2 + 2 = 4", "signature": ""},
        {"type": "text", "text": "2 + 2 = 4."},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 15,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 12,
        "output_tokens_details": {"thinking_tokens": 6},
    },
}
_DELTA = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": "4"},
}
_EVENTS = {
    "message_start": MessageStart,
    "content_block_start": ContentBlockStart,
    "content_block_delta": ContentBlockDelta,
    "content_block_stop": ContentBlockStop,
    "message_delta": MessageDelta,
    "message_stop": MessageStop,
    "ping": Ping,
    "error": MessagesError,
}
_EVENT = {
    "description": (
        "An event of the stream. Its name and its data's `type` are the same; the last is"
        " `message_stop`, or `error` if the stream fails."
    ),
    "type": "object",
    "properties": {
        "event": {"enum": list(_EVENTS)},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "oneOf": [
                    {"$ref": f"#/components/schemas/{event.__name__}"} for event in _EVENTS.values()
                ]
            },
        },
    },
    "required": ["event", "data"],
}


def _accepted(name: str, value: str) -> Parameter:
    return Parameter(
        name=name,
        place="header",
        description="Accepted without effect.",
        schema={"type": "string"},
        example=value,
    )


_PARAMETERS = [
    PREFER,
    _accepted("anthropic-version", "2023-06-01"),
    _accepted("anthropic-beta", "none"),
]
CREATE = Operation(
    id="createMessage",
    tag="messages",
    summary="Create a message",
    description=(
        "Generates the next message of a conversation, with Anthropic's Messages API. With `stream`"
        " the response is a stream of server-sent events, from `message_start` to `message_stop`,"
        " or to `error` if the stream fails."
    ),
    parameters=_PARAMETERS,
    body=Content(
        type=MessagesRequest,
        examples={
            "question": _REQUEST,
            "stream": _REQUEST | {"stream": True},
            "greedy": _REQUEST | {"temperature": 0, "thinking": {"type": "disabled"}},
        },
    ),
    responses={
        200: SuccessResponse(
            description="The message, whole or as a stream.",
            content=[
                Content(type=AnsweredMessage, examples={"sum": _MESSAGE}),
                Content(
                    media_type="text/event-stream",
                    schema=_EVENT,
                    mentions=tuple(_EVENTS.values()),
                    examples={
                        "delta": (
                            "event: content_block_delta\n"
                            f"data: {msgspec.json.encode(_DELTA).decode()}\n\n"
                        )
                    },
                ),
            ],
        )
    },
    errors=[*ERRORS, *IMAGE_ERRORS, ThreadNotFound],
    error_shape=ANTHROPIC,
)

COUNT_TOKENS = Operation(
    id="countMessageTokens",
    tag="messages",
    summary="Count a message's tokens",
    description="Returns the number of tokens of a request's prompt. Nothing is generated.",
    parameters=_PARAMETERS,
    body=Content(type=CountTokensRequest, examples={"question": _PROMPT}),
    responses={
        200: SuccessResponse(
            description="The number.",
            content=[Content(type=TokensCount, examples={"question": {"input_tokens": 15}})],
        )
    },
    errors=[
        kind
        for kind in (*ERRORS, *IMAGE_ERRORS)
        if kind not in (ContextLengthExceeded, QueueFull)  # nothing is submitted
    ],
    error_shape=ANTHROPIC,
)

"""What the OpenAPI document says of `POST /v1/responses`."""

from typing import get_args

import msgspec

from pilotlight.api.openapi.generation import ERRORS, IMAGE_ERRORS, PREFER
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.errors import PreviousResponseNotFound
from pilotlight.schema.responses.events import ResponseStreamEvent
from pilotlight.schema.responses.request import ResponseRequest
from pilotlight.schema.responses.response import ResponseObject

_EVENTS = get_args(ResponseStreamEvent)

_REQUEST = {"model": "spark", "input": "What is 2+2?"}
_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
_CONVERSATION = {
    "model": "spark",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "type": "function_call",
            "call_id": "call_9d31",
            "name": "get_weather",
            "arguments": '{"city": "Paris"}',
        },
        {"type": "function_call_output", "call_id": "call_9d31", "output": "Sunny, 21 degrees."},
    ],
    "tools": [_WEATHER],
}
_RESPONSE = {
    "id": "resp_1f0c",
    "object": "response",
    "created_at": 1767225600,
    "completed_at": 1767225601,
    "status": "completed",
    "model": "spark",
    "output": [
        {
            "type": "reasoning",
            "id": "rs_52aa",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "2 + 2 = 4"}],
        },
        {
            "type": "message",
            "id": "msg_7be0",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "2 + 2 = 4.", "annotations": [], "logprobs": []}
            ],
        },
    ],
    "error": None,
    "incomplete_details": None,
    "usage": {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 6},
        "total_tokens": 27,
    },
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 0.95,
    "truncation": "disabled",
    "user": None,
}
_DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 11,
    "item_id": "msg_7be0",
    "output_index": 1,
    "content_index": 0,
    "delta": "4",
    "logprobs": [],
}

_EVENT = {
    "description": "An event of the stream. Its name is its type.",
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "oneOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in _EVENTS]
            },
        },
    },
    "required": ["event", "data"],
}

OPERATION = Operation(
    id="createResponse",
    tag="responses",
    summary="Create a response",
    description=(
        "Generates a list of items for a conversation: reasoning, messages, function calls. Nothing"
        " is stored, so the input is the whole conversation. With `stream` the response is a stream"
        " of server-sent events: the last is `response.completed`, `response.incomplete`, or after"
        " `response.failed` an `error`."
    ),
    parameters=[PREFER],
    body=Content(
        type=ResponseRequest,
        examples={
            "question": _REQUEST,
            "stream": _REQUEST | {"stream": True},
            "conversation": _CONVERSATION,
        },
    ),
    responses={
        200: SuccessResponse(
            description="The response, whole or as a stream.",
            content=[
                Content(type=ResponseObject, examples={"sum": _RESPONSE}),
                Content(
                    media_type="text/event-stream",
                    schema=_EVENT,
                    mentions=_EVENTS,
                    examples={
                        "delta": (
                            f"event: {_DELTA['type']}\n"
                            f"data: {msgspec.json.encode(_DELTA).decode()}\n\n"
                        )
                    },
                ),
            ],
        )
    },
    errors=[*ERRORS, *IMAGE_ERRORS, PreviousResponseNotFound],
)

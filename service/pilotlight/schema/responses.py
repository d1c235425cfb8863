"""Responses: OpenAI's other request for an answer, the answer as a list of items, and its events.

What a request can have and this server refuses is typed as anything and documented as null, so that
the refusal can say why (`REFUSED`); a field without effect is accepted for its clients' sake.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Meta, field

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request, Response
from pilotlight.schema.chat import JsonObjectFormat, RefusalPart, TextFormat

REFUSED = {
    "access_programs": "there are no access programs here",
    "background": "no response is stored, so each is answered while the client waits",
    "background_options": "no response is stored, so each is answered while the client waits",
    "context_management": "a conversation is taken as it is sent, and never compacted",
    "conversation": "no conversation is stored; send the whole of it as input",
    "image": "input is text",
    "moderation": "nothing is moderated",
    "previous_response_id": "no response is stored; send the whole conversation as input",
    "prompt": "no prompt is stored; send its text as instructions and input",
    "truncation": "no input is cut; leave out what is too long for the model's context",
}
"""Why fields, or some of their values, are refused."""


def _refused(name: str) -> Meta:
    return Meta(description=f"Refused: {REFUSED[name]}.", extra_json_schema={"type": "null"})


ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]

# ── input ───────────────────────────────────────────────────────────────────────────────────────


class InputTextPart(Request, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of a message's text."""

    text: str
    prompt_cache_breakpoint: Annotated[dict[str, Any] | None, NO_EFFECT] = None


class OutputTextPart(Request, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of an earlier answer's text."""

    text: str
    annotations: Annotated[list[Any] | None, NO_EFFECT] = None
    logprobs: Annotated[list[Any] | None, NO_EFFECT] = None


class InputMessage(Request, kw_only=True, tag_field="type", tag="message"):
    """What somebody says; an item without a `type` is one too."""

    untagged: ClassVar[bool] = True

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputTextPart | OutputTextPart | RefusalPart]
    id: Annotated[str | None, NO_EFFECT] = None
    status: Annotated[ItemStatus | None, NO_EFFECT] = None
    phase: Annotated[Literal["commentary", "final_answer"] | None, NO_EFFECT] = None


class InputFunctionCall(Request, kw_only=True, tag_field="type", tag="function_call"):
    """A call that an earlier answer made, with its arguments as JSON text."""

    call_id: NonEmpty
    name: NonEmpty
    arguments: str
    id: Annotated[str | None, NO_EFFECT] = None
    status: Annotated[ItemStatus | None, NO_EFFECT] = None
    namespace: Annotated[None, Meta(description="Refused: functions have no namespaces.")] = None
    caller: Annotated[dict[str, Any] | None, NO_EFFECT] = None
    asynchronous: Annotated[bool | None, NO_EFFECT] = field(default=None, name="async")


class FunctionOutputPart(Request, kw_only=True):
    """A piece of what a called function answered.

    Its type is a field and no tag: msgspec takes a tag that is missing for the right one where
    there is only one struct to choose.
    """

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Annotated[dict[str, Any] | None, NO_EFFECT] = None


class InputFunctionCallOutput(Request, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a called function answered."""

    call_id: NonEmpty
    output: str | list[FunctionOutputPart]
    id: Annotated[str | None, NO_EFFECT] = None
    name: Annotated[str | None, NO_EFFECT] = None
    status: Annotated[ItemStatus | None, NO_EFFECT] = None
    namespace: Annotated[None, Meta(description="Refused: functions have no namespaces.")] = None
    caller: Annotated[dict[str, Any] | None, NO_EFFECT] = None


class InputReasoningText(Request, kw_only=True):
    """A piece of an earlier answer's thinking."""

    type: Literal["reasoning_text"]
    text: str


class InputReasoningSummary(Request, kw_only=True):
    """A piece of a summary of an earlier answer's thinking."""

    type: Literal["summary_text"]
    text: str


class InputReasoning(Request, kw_only=True, tag_field="type", tag="reasoning"):
    """An earlier answer's thinking; of one that has no text left its summary is taken."""

    summary: list[InputReasoningSummary]
    content: list[InputReasoningText] | None = None
    id: Annotated[str | None, NO_EFFECT] = None
    status: Annotated[ItemStatus | None, NO_EFFECT] = None
    encrypted_content: Annotated[str | None, NO_EFFECT] = None


InputItem: TypeAlias = InputMessage | InputFunctionCall | InputFunctionCallOutput | InputReasoning

# ── request ─────────────────────────────────────────────────────────────────────────────────────


class ResponseFunctionTool(Request, kw_only=True):
    """A function that the model may call; *parameters* is a JSON Schema."""

    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    defer_loading: Annotated[bool | None, NO_EFFECT] = None
    output_schema: Annotated[dict[str, Any] | None, NO_EFFECT] = None
    asynchronous: Annotated[bool | None, NO_EFFECT] = field(default=None, name="async")


class FunctionToolChoice(Request, kw_only=True, tag_field="type", tag="function"):
    """The model calls this function."""

    name: NonEmpty


class AllowedFunction(Request, kw_only=True):
    """One of the functions that may be called."""

    type: Literal["function"]
    name: NonEmpty


class AllowedFunctionsChoice(Request, kw_only=True, tag_field="type", tag="allowed_tools"):
    """The model may call, or must call, one of some functions."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedFunction], Meta(min_length=1)]


ResponseToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | FunctionToolChoice | AllowedFunctionsChoice
)


class ResponseJsonSchemaFormat(Request, kw_only=True, tag_field="type", tag="json_schema"):
    """JSON that validates against *schema*, whether *strict* or not."""

    name: NonEmpty
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


ResponseTextFormat: TypeAlias = TextFormat | JsonObjectFormat | ResponseJsonSchemaFormat


class ResponseTextConfig(Request, kw_only=True):
    """What the answer's text is like."""

    format: Annotated[
        ResponseTextFormat | None,
        Meta(description="The answer's form: text, a JSON object, or JSON of a schema."),
    ] = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, NO_EFFECT] = None


Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_Summary: TypeAlias = Literal["auto", "concise", "detailed"]


class ReasoningConfig(Request, kw_only=True):
    """How the model thinks."""

    effort: Annotated[
        Effort | None,
        Meta(
            description=(
                "`none` turns the thinking off. The others end it after 128, 512, 2048 or 8192"
                " tokens, `xhigh` and `max` never, and the chat template is told them."
            )
        ),
    ] = None
    summary: Annotated[
        _Summary | None,
        Meta(description="Accepted without effect: the whole of the thinking is told."),
    ] = None
    generate_summary: Annotated[_Summary | None, NO_EFFECT] = None
    context: Annotated[
        Literal["auto", "current_turn", "all_turns"] | None,
        Meta(description="Accepted without effect: the chat template decides."),
    ] = None
    mode: Literal["standard"] | None = None


class ResponseStreamOptions(Request, kw_only=True):
    """What a stream carries beside the answer."""

    include_obfuscation: Annotated[bool | None, NO_EFFECT] = None


Includable: TypeAlias = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


class ResponseRequest(Request, kw_only=True):
    """OpenAI's request for a response, with some fields of llama-server's and vLLM's."""

    model: Annotated[str, Meta(min_length=1, description="The model's name; case does not count.")]
    input: Annotated[
        str | Annotated[list[InputItem], Meta(min_length=1)],
        Meta(description="What the user says, or the conversation's items, oldest first."),
    ]
    instructions: Annotated[
        str | None, Meta(description="A system message, before those that the input begins with.")
    ] = None

    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="How freely tokens are drawn; 0 takes the likeliest. 1 if omitted."),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Draw from the likeliest tokens of this total share. 0.95 if omitted."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(description="Draw from this many of the likeliest; 0 from all. 64 if omitted."),
    ] = None
    min_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Drop tokens below this share of the likeliest one's. 0 if omitted."),
    ] = None
    max_output_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(description="Most tokens of the answer, thinking included. 2048 if omitted."),
    ] = None

    include: Annotated[
        list[Includable] | None,
        Meta(
            description=(
                "With `message.output_text.logprobs` text comes with its tokens' log"
                " probabilities. The others have no effect."
            )
        ),
    ] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        Meta(
            description=(
                "How many of the likeliest tokens to tell beside each, where `include` asks for"
                " log probabilities."
            )
        ),
    ] = None
    stream: Annotated[
        bool | None, Meta(description="Whether the answer comes as server-sent events.")
    ] = None
    stream_options: ResponseStreamOptions | None = None

    tools: Annotated[
        Annotated[list[ResponseFunctionTool], Meta(max_length=128)] | None,
        Meta(description="Functions that the model may call."),
    ] = None
    tool_choice: Annotated[
        ResponseToolChoice | None,
        Meta(
            description=(
                "`none` hides the tools from the model, `auto` leaves it to the model, `required`"
                " and a named function make it call; `allowed_tools` hides all others."
            )
        ),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None,
        Meta(description="Whether an answer may make several calls. True if omitted."),
    ] = None
    reasoning: Annotated[ReasoningConfig | None, Meta(description="How the model thinks.")] = None
    text: Annotated[
        ResponseTextConfig | None, Meta(description="What the answer's text is like.")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="Variables for the model's chat template.")
    ] = None

    metadata: Annotated[
        Annotated[
            dict[
                Annotated[str, Meta(max_length=64)],
                Annotated[str, Meta(max_length=512)],
            ],
            Meta(max_length=16),
        ]
        | None,
        Meta(description="Stands in the answer as it is here."),
    ] = None
    max_tool_calls: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(description="Accepted without effect: it counts built-in tools, and there are none."),
    ] = None
    prompt_cache_key: Annotated[
        str | None,
        Meta(
            description=(
                "Accepted without effect: a prompt's beginning is reused wherever a slot holds it."
            )
        ),
    ] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, NO_EFFECT] = None
    prompt_cache_retention: Annotated[str | None, NO_EFFECT] = None
    safety_identifier: Annotated[str | None, NO_EFFECT] = None
    service_tier: Annotated[str | None, NO_EFFECT] = None
    store: Annotated[
        bool | None, Meta(description="Accepted without effect: nothing is stored.")
    ] = None
    user: Annotated[str | None, NO_EFFECT] = None

    background: Annotated[
        Any,
        Meta(
            description=f"`true` is refused: {REFUSED['background']}.",
            extra_json_schema={"anyOf": [{"const": False}, {"type": "null"}]},
        ),
    ] = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Meta(
            description=f"`auto` is refused: {REFUSED['truncation']}.",
            extra_json_schema={"enum": ["disabled", None]},
        ),
    ] = None
    access_programs: Annotated[Any, _refused("access_programs")] = None
    background_options: Annotated[Any, _refused("background_options")] = None
    context_management: Annotated[Any, _refused("context_management")] = None
    conversation: Annotated[Any, _refused("conversation")] = None
    image: Annotated[Any, _refused("image")] = None
    moderation: Annotated[Any, _refused("moderation")] = None
    previous_response_id: Annotated[Any, _refused("previous_response_id")] = None
    prompt: Annotated[Any, _refused("prompt")] = None


# ── answer ──────────────────────────────────────────────────────────────────────────────────────


class OutputTopLogprob(Response, kw_only=True):
    """A token that could have come, and the natural logarithm of its probability."""

    token: str
    bytes: list[int]
    logprob: float


class OutputLogprob(OutputTopLogprob, kw_only=True):
    """A token that came, and the likeliest at its place."""

    top_logprobs: list[OutputTopLogprob]


class OutputText(Response, kw_only=True, tag_field="type", tag="output_text"):
    """The text of a message."""

    text: str
    annotations: list[Any]
    logprobs: list[OutputLogprob]


class ReasoningText(Response, kw_only=True, tag_field="type", tag="reasoning_text"):
    """The text of a thought."""

    text: str


class OutputMessage(Response, kw_only=True, tag_field="type", tag="message"):
    """What the model says."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputFunctionCall(Response, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model makes, with its arguments as JSON text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputReasoning(Response, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thinks, in full; there is no summary of it."""

    id: str
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningText]


OutputItem: TypeAlias = OutputMessage | OutputFunctionCall | OutputReasoning


class ResponseInputTokensDetails(Response, kw_only=True):
    """Of the prompt's tokens, those that a slot still held and that were not evaluated again."""

    cached_tokens: int
    cache_write_tokens: int = 0
    """No cache is written that outlives its slot, and nobody pays for one."""


class ResponseOutputTokensDetails(Response, kw_only=True):
    """Of the answer's tokens, those that were spent on thinking."""

    reasoning_tokens: int


class ResponseUsage(Response, kw_only=True):
    """Tokens that the request took."""

    input_tokens: int
    input_tokens_details: ResponseInputTokensDetails
    output_tokens: int
    output_tokens_details: ResponseOutputTokensDetails
    total_tokens: int


class IncompleteDetails(Response, kw_only=True):
    """Why an answer is cut."""

    reason: Literal["max_output_tokens"]


class ResponseFault(Response, kw_only=True):
    """Why an answer broke off. OpenAI's list of codes has one for a server's own faults."""

    code: Literal["server_error"] = "server_error"
    message: str
    param: str | None
    type: str
    """The error's type, as an error's body has it."""


class AnsweredTool(Response, kw_only=True, tag_field="type", tag="function"):
    """A function of the request."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class AnsweredText(Response, kw_only=True):
    """What the request says of the text, with what it means where it says nothing."""

    format: ResponseTextFormat
    verbosity: Literal["low", "medium", "high"]


class AnsweredReasoning(Response, kw_only=True):
    """What the request says of the thinking."""

    effort: Effort | None
    summary: _Summary | None


class ResponseObject(Response, kw_only=True):
    """An answer, and what was asked; in a stream's events as far as it is by then."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputItem]
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None

    background: bool = False
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: AnsweredReasoning
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool = False
    """Nothing is, whatever the request says."""
    temperature: float
    text: AnsweredText
    tool_choice: ResponseToolChoice
    tools: list[AnsweredTool]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    user: str | None


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class ResponseEvent(Response, kw_only=True):
    """One event of a stream; they are numbered from 0."""

    sequence_number: int


class ResponseCreatedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.created"):
    """The answer has begun."""

    response: ResponseObject


class ResponseInProgressEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.in_progress"
):
    """The answer is on its way."""

    response: ResponseObject


class ResponseCompletedEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.completed"
):
    """The answer is whole."""

    response: ResponseObject


class ResponseIncompleteEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.incomplete"
):
    """The answer is cut."""

    response: ResponseObject


class ResponseFailedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.failed"):
    """The answer broke off."""

    response: ResponseObject


class OutputItemAddedEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.output_item.added"
):
    """An item begins."""

    output_index: int
    item: OutputItem


class OutputItemDoneEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.output_item.done"
):
    """An item is whole, or cut."""

    output_index: int
    item: OutputItem


class ItemEvent(ResponseEvent, kw_only=True):
    """Something of the item that *output_index* counts."""

    item_id: str
    output_index: int


class ContentPartAddedEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.content_part.added"
):
    """The text of an item begins."""

    content_index: int = 0
    part: OutputText | ReasoningText


class ContentPartDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.content_part.done"
):
    """The text of an item is whole, or cut."""

    content_index: int = 0
    part: OutputText | ReasoningText


class DeltaTopLogprob(Response, kw_only=True):
    """A token that could have come, and the natural logarithm of its probability."""

    token: str
    logprob: float


class DeltaLogprob(DeltaTopLogprob, kw_only=True):
    """A token that came, and the likeliest at its place."""

    top_logprobs: list[DeltaTopLogprob]


class OutputTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.delta"
):
    """More of a message."""

    content_index: int = 0
    delta: str
    logprobs: list[DeltaLogprob]


class OutputTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.done"
):
    """The whole of a message."""

    content_index: int = 0
    text: str
    logprobs: list[DeltaLogprob]


class ReasoningTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"
):
    """More of a thought."""

    content_index: int = 0
    delta: str


class ReasoningTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.done"
):
    """The whole of a thought."""

    content_index: int = 0
    text: str


class FunctionCallArgumentsDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    """More of a call's arguments."""

    delta: str


class FunctionCallArgumentsDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    """The whole of a call's arguments."""

    arguments: str


class ErrorEventDetail(Response, kw_only=True):
    """The error as its body has it; by this field the SDKs know that it is one, and raise it."""

    message: str
    type: str
    param: str | None
    code: str


class ResponseErrorEvent(ResponseEvent, kw_only=True, tag_field="type", tag="error"):
    """What broke the answer off; the last event of a stream that has one."""

    message: str
    code: str
    param: str | None
    error: ErrorEventDetail


ResponseStreamEvent: TypeAlias = (
    ResponseCreatedEvent
    | ResponseInProgressEvent
    | OutputItemAddedEvent
    | ContentPartAddedEvent
    | ReasoningTextDeltaEvent
    | ReasoningTextDoneEvent
    | OutputTextDeltaEvent
    | OutputTextDoneEvent
    | FunctionCallArgumentsDeltaEvent
    | FunctionCallArgumentsDoneEvent
    | ContentPartDoneEvent
    | OutputItemDoneEvent
    | ResponseCompletedEvent
    | ResponseIncompleteEvent
    | ResponseFailedEvent
    | ResponseErrorEvent
)

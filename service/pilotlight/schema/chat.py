"""Chat completions: OpenAI's request with our additions, the answer, and the stream's chunks.

A field typed `None` is one that OpenAI has and this server refuses; a field without effect is
accepted for its clients' sake. Their descriptions say so in the document.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request, Response
from pilotlight.schema.models import ModelState
from pilotlight.schema.sampling import SamplingRequest

# ── messages ────────────────────────────────────────────────────────────────────────────────────


class TextPart(Request, kw_only=True):
    """A piece of a message's text.

    Its type is a field and no tag: msgspec takes a tag that is missing for the right one where
    there is only one struct to choose.
    """

    type: Literal["text"]
    text: str


Content: TypeAlias = str | Annotated[list[TextPart], Meta(min_length=1)]


class AnsweredTextPart(Request, kw_only=True, tag_field="type", tag="text"):
    """A piece of an earlier answer's text."""

    text: str


class RefusalPart(Request, kw_only=True, tag_field="type", tag="refusal"):
    """An earlier answer's refusal; to the model it is text."""

    refusal: str


AnsweredContent: TypeAlias = (
    str | Annotated[list[AnsweredTextPart | RefusalPart], Meta(min_length=1)]
)


class SystemMessage(Request, kw_only=True, tag_field="role", tag="system"):
    """What the model is told about its task."""

    content: Content
    name: str | None = None


class DeveloperMessage(Request, kw_only=True, tag_field="role", tag="developer"):
    """OpenAI's newer name for a system message."""

    content: Content
    name: str | None = None


class UserMessage(Request, kw_only=True, tag_field="role", tag="user"):
    """What the user says."""

    content: Content
    name: str | None = None


class CalledFunction(Request, kw_only=True):
    """A function that the model called, with its arguments as JSON text."""

    name: NonEmpty
    arguments: str


class ToolCall(Request, kw_only=True):
    """A call that an earlier answer made."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AssistantMessage(Request, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier answer, as a client got it; as the last message, the beginning of the answer."""

    content: AnsweredContent | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: Annotated[list[Any] | None, NO_EFFECT] = None
    audio: Annotated[None, Meta(description="Refused: answers are text.")] = None
    function_call: Annotated[None, Meta(description="Refused: use `tool_calls`.")] = None


class ToolMessage(Request, kw_only=True, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: Content
    tool_call_id: str


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

# ── request ─────────────────────────────────────────────────────────────────────────────────────


class FunctionDefinition(Request, kw_only=True):
    """A function the model may call; *parameters* is a JSON Schema."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Request, kw_only=True):
    """A tool the model may use."""

    function: FunctionDefinition
    type: Literal["function"]


class TextFormat(Request, kw_only=True, tag_field="type", tag="text"):
    """Plain text."""


class JsonObjectFormat(Request, kw_only=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Request, kw_only=True):
    """A JSON Schema; the answer validates against it whether *strict* or not."""

    name: NonEmpty
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Request, kw_only=True, tag_field="type", tag="json_schema"):
    """JSON that validates against a schema."""

    json_schema: JsonSchema


ResponseFormat: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


class FunctionName(Request, kw_only=True):
    """A function of the request's tools."""

    name: NonEmpty


class NamedToolChoice(Request, kw_only=True, tag_field="type", tag="function"):
    """The model calls this function."""

    function: FunctionName


class AllowedTool(Request, kw_only=True):
    """One of the tools that may be called."""

    function: FunctionName
    type: Literal["function"]


class AllowedTools(Request, kw_only=True):
    """The tools that may be called, of all that the request lists."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class AllowedToolsChoice(Request, kw_only=True, tag_field="type", tag="allowed_tools"):
    """The model may call, or must call, one of some tools."""

    allowed_tools: AllowedTools


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolsChoice


class ChatCompletionRequest(SamplingRequest, kw_only=True):
    """OpenAI's chat request, with some fields of llama-server's and vLLM's."""

    messages: Annotated[
        list[Message], Meta(min_length=1, description="The conversation, oldest first.")
    ]

    max_completion_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(description="Most tokens of the answer, thinking included. 2048 if omitted."),
    ] = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(description="The older name of `max_completion_tokens`, which wins."),
    ] = None
    logprobs: Annotated[
        bool | None, Meta(description="Whether content comes with its tokens' log probabilities.")
    ] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        Meta(description="With `logprobs`: how many of the likeliest tokens to tell beside each."),
    ] = None

    tools: Annotated[
        Annotated[list[Tool], Meta(max_length=128)] | None,
        Meta(description="Functions that the model may call."),
    ] = None
    tool_choice: Annotated[
        ToolChoice | None,
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
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None,
        Meta(
            description=(
                "`none` turns the thinking off. The others end it after 128, 512, 2048 or 8192"
                " tokens, `xhigh` never, and the chat template is told them."
            )
        ),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="Variables for the model's chat template.")
    ] = None
    response_format: Annotated[
        ResponseFormat | None,
        Meta(description="The answer's form: text, a JSON object, or JSON of a schema."),
    ] = None
    guided_json: Annotated[
        dict[str, Any] | bool | None,
        Meta(description="A JSON Schema that the answer validates against."),
    ] = None
    guided_regex: Annotated[
        NonEmpty | None, Meta(description="A regular expression that the whole answer matches.")
    ] = None
    guided_choice: Annotated[
        Annotated[list[NonEmpty], Meta(min_length=1, max_length=1024)] | None,
        Meta(description="Texts, one of which is the answer."),
    ] = None
    grammar: Annotated[
        NonEmpty | None,
        Meta(
            description="A grammar that the answer follows: Lark's notation, or llama.cpp's GBNF."
        ),
    ] = None

    metadata: Annotated[Annotated[dict[str, str], Meta(max_length=16)] | None, NO_EFFECT] = None
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
    verbosity: Annotated[Literal["low", "medium", "high"] | None, NO_EFFECT] = None

    audio: Annotated[None, Meta(description="Refused: answers are text.")] = None
    function_call: Annotated[None, Meta(description="Refused: use `tool_choice`.")] = None
    functions: Annotated[None, Meta(description="Refused: use `tools`.")] = None
    modalities: Annotated[
        list[Literal["text"]] | None, Meta(description="Accepted as `text`: answers are text.")
    ] = None
    moderation: Annotated[None, Meta(description="Refused: nothing is moderated.")] = None
    prediction: Annotated[None, Meta(description="Refused: answers are not predicted.")] = None
    web_search_options: Annotated[None, Meta(description="Refused: nothing is searched.")] = None


# ── answer ──────────────────────────────────────────────────────────────────────────────────────

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "error"]


class PromptTokensDetails(Response, kw_only=True):
    """Of the prompt's tokens, those that a slot still held and that were not evaluated again."""

    cached_tokens: int


class CompletionTokensDetails(Response, kw_only=True):
    """Of the answer's tokens, those that were spent on thinking."""

    reasoning_tokens: int


class CompletionUsage(Response, kw_only=True):
    """Tokens that the request took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class AnsweredFunction(Response, kw_only=True):
    """The function that the model calls, with its arguments as JSON text."""

    name: str
    arguments: str


class AnsweredToolCall(Response, kw_only=True):
    """A call that the model makes."""

    id: str
    type: Literal["function"] = "function"
    function: AnsweredFunction


class TopLogprob(Response, kw_only=True):
    """A token that could have come, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob, kw_only=True):
    """A token that came, and the likeliest at its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Response, kw_only=True):
    """The log probabilities of the content's tokens."""

    content: list[TokenLogprob] | None
    refusal: None = None


class ChatCompletionMessage(Response, kw_only=True):
    """The answer; its thinking is apart from its content."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[AnsweredToolCall] | UnsetType = UNSET


class Choice(Response, kw_only=True):
    """One answer."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Response, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    thought: str | UnsetType = UNSET
    """The answer's thinking once more, where clients that show it look for it."""


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class FunctionDelta(Response, kw_only=True):
    """A piece of a function call; *name* comes first and once."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Response, kw_only=True):
    """A piece of the call that *index* counts; *id* comes first and once."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class Delta(Response, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Response, kw_only=True):
    """The next piece of the answer *index*."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class Loading(Response, kw_only=True):
    """How far the model is that a stream waits for."""

    state: ModelState
    progress: float
    """0 to 1, the share of its bytes that are read."""
    retry_after: float | None
    """Seconds that the load is expected to take still; null where unknown."""


class ChatCompletionChunk(Response, kw_only=True):
    """One event of a stream; *choices* is empty in those that carry *usage* or *loading*."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    thought: str | UnsetType = UNSET
    loading: Loading | UnsetType = UNSET
    """Where `stream_options.include_loading` asks for it, before the answer begins."""

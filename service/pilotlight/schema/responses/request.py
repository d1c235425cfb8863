"""A request for a response: OpenAI's, with some fields of llama-server's and vLLM's.

What a request can have and this server refuses is typed as anything and documented as null, so that
the refusal can say why (`REFUSED`); a field without effect is accepted for its clients' sake.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request
from pilotlight.schema.chat.request import JsonObjectFormat, TextFormat
from pilotlight.schema.responses.input import InputItem

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

Summary: TypeAlias = Literal["auto", "concise", "detailed"]


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
        Summary | None,
        Meta(description="Accepted without effect: the whole of the thinking is told."),
    ] = None
    generate_summary: Annotated[Summary | None, NO_EFFECT] = None
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

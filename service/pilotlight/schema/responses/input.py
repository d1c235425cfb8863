"""The items of a conversation, in a request for a response."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import field

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.images import IMAGE_DETAIL, IMAGE_URL, ImageDetail
from pilotlight.schema.openai import RefusalPart
from pilotlight.schema.responses.tools import ResponseTool
from pilotlight.schema.support import RESPONSE_ITEMS, accepted

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class InputTextPart(Request, kw_only=True, tag_field="type", tag="input_text"):
    """A piece of a message's text."""

    text: str
    prompt_cache_breakpoint: Annotated[Any, RESPONSE_ITEMS["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, RESPONSE_ITEMS["cache_control"]] = None


class OutputTextPart(Request, kw_only=True, tag_field="type", tag="output_text"):
    """A piece of an earlier response's text."""

    text: str
    annotations: Annotated[Any, RESPONSE_ITEMS["annotations"]] = None
    logprobs: Annotated[Any, RESPONSE_ITEMS["logprobs"]] = None
    parsed: Annotated[Any, RESPONSE_ITEMS["parsed"]] = None


class InputImagePart(Request, kw_only=True, tag_field="type", tag="input_image"):
    """An image, in messages of the user's and in results of function calls."""

    image_url: Annotated[NonEmpty, IMAGE_URL]
    detail: Annotated[ImageDetail | None, IMAGE_DETAIL] = None
    file_id: Annotated[None, RESPONSE_ITEMS["file_id"]] = None
    prompt_cache_breakpoint: Annotated[Any, RESPONSE_ITEMS["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, RESPONSE_ITEMS["cache_control"]] = None


class InputMessage(Request, kw_only=True, tag_field="type", tag="message"):
    """A message; an item without a `type` is one too."""

    untagged: ClassVar[bool] = True

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputTextPart | OutputTextPart | RefusalPart | InputImagePart]
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    phase: Annotated[str | None, RESPONSE_ITEMS["phase"]] = None


class InputFunctionCall(Request, kw_only=True, tag_field="type", tag="function_call"):
    """A call of an earlier response, with its arguments as JSON text."""

    call_id: NonEmpty
    name: NonEmpty
    arguments: str
    parsed_arguments: Annotated[Any, RESPONSE_ITEMS["parsed_arguments"]] = None
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    namespace: Annotated[str | None, RESPONSE_ITEMS["namespace"]] = None
    caller: Annotated[dict[str, Any] | None, RESPONSE_ITEMS["caller"]] = None
    asynchronous: Annotated[bool | None, RESPONSE_ITEMS["async"]] = field(
        default=None, name="async"
    )
    async_: Annotated[bool | None, RESPONSE_ITEMS["async_"]] = None


class InputFunctionCallOutput(Request, kw_only=True, tag_field="type", tag="function_call_output"):
    """The result of a function call."""

    call_id: NonEmpty
    output: str | list[InputTextPart | InputImagePart]
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    name: Annotated[str | None, RESPONSE_ITEMS["name"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    namespace: Annotated[str | None, RESPONSE_ITEMS["namespace"]] = None
    caller: Annotated[dict[str, Any] | None, RESPONSE_ITEMS["caller"]] = None


class InputReasoningText(Request, kw_only=True):
    """A piece of an earlier response's reasoning."""

    type: Literal["reasoning_text"]
    text: str


class InputReasoningSummary(Request, kw_only=True):
    """A piece of a summary of an earlier response's reasoning."""

    type: Literal["summary_text"]
    text: str


class InputReasoning(Request, kw_only=True, tag_field="type", tag="reasoning"):
    """Reasoning of an earlier response; without content its summary is used."""

    summary: list[InputReasoningSummary]
    content: list[InputReasoningText] | None = None
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    encrypted_content: Annotated[str | None, RESPONSE_ITEMS["encrypted_content"]] = None


class InputCustomCall(Request, kw_only=True, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool; the model gets it as a function call with an `input`."""

    call_id: NonEmpty
    name: NonEmpty
    input: str
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    namespace: Annotated[str | None, RESPONSE_ITEMS["namespace"]] = None
    caller: Annotated[dict[str, Any] | None, RESPONSE_ITEMS["caller"]] = None
    asynchronous: Annotated[bool | None, RESPONSE_ITEMS["async"]] = field(
        default=None, name="async"
    )
    async_: Annotated[bool | None, RESPONSE_ITEMS["async_"]] = None


class InputCustomCallOutput(Request, kw_only=True, tag_field="type", tag="custom_tool_call_output"):
    """The result of a custom tool call."""

    call_id: NonEmpty
    output: str | list[InputTextPart | InputImagePart]
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    name: Annotated[str | None, RESPONSE_ITEMS["name"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None
    caller: Annotated[dict[str, Any] | None, RESPONSE_ITEMS["caller"]] = None


class InputWebSearch(Request, kw_only=True, tag_field="type", tag="web_search_call"):
    """A search by a vendor; accepted without effect: its results are in the response."""

    action: Annotated[Any, accepted()] = None
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None
    status: Annotated[str | None, RESPONSE_ITEMS["status"]] = None


class InputToolListing(Request, kw_only=True, tag_field="type", tag="mcp_list_tools"):
    """Tools of an MCP server; accepted without effect: they cannot be called."""

    server_label: Annotated[Any, accepted()] = None
    tools: Annotated[Any, accepted()] = None
    error: Annotated[Any, accepted()] = None
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None


class InputTools(Request, kw_only=True, tag_field="type", tag="additional_tools"):
    """More tools; the model sees them as if they were in `tools`."""

    tools: list[ResponseTool]
    role: Literal["developer"] | None = None
    id: Annotated[str | None, RESPONSE_ITEMS["id"]] = None


InputItem: TypeAlias = (
    InputMessage
    | InputFunctionCall
    | InputFunctionCallOutput
    | InputReasoning
    | InputCustomCall
    | InputCustomCallOutput
    | InputWebSearch
    | InputToolListing
    | InputTools
)

"""The turns of a conversation, and the blocks that they are made of."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.images import IMAGE_URL
from pilotlight.schema.support import BLOCKS, accepted

Cached: TypeAlias = Annotated[dict[str, Any] | None, BLOCKS["cache_control"]]


class PlainTextBlock(Request, kw_only=True):
    """A piece of text, where only text is allowed.

    Its type is a field and no tag: msgspec takes a tag that is missing for the right one where
    there is only one struct to choose.
    """

    type: Literal["text"]
    text: str
    cache_control: Cached = None
    citations: Annotated[Any, BLOCKS["citations"]] = None
    parsed_output: Annotated[Any, BLOCKS["parsed_output"]] = None


class TextBlock(Request, kw_only=True, tag_field="type", tag="text"):
    """A piece of a message's text."""

    text: str
    cache_control: Cached = None
    citations: Annotated[Any, BLOCKS["citations"]] = None
    parsed_output: Annotated[Any, BLOCKS["parsed_output"]] = None


class Base64Source(Request, kw_only=True, tag_field="type", tag="base64"):
    """An image in the request."""

    media_type: Annotated[
        Literal["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"],
        Meta(description="The file's own format counts, whatever it is called here."),
    ]
    data: Annotated[NonEmpty, Meta(description="The file in base64.")]


class UrlSource(Request, kw_only=True, tag_field="type", tag="url"):
    """An image elsewhere."""

    url: Annotated[NonEmpty, IMAGE_URL]


class ImageTransformations(Request, kw_only=True):
    """What happens to an image before the model sees it."""

    oversized_image: Annotated[
        Literal["downsize", "error"] | None,
        Meta(description="With `error` an image that exceeds the setting `image_side` is a 400."),
    ] = None


class ImageBlock(Request, kw_only=True, tag_field="type", tag="image"):
    """An image."""

    source: Base64Source | UrlSource
    transformations: ImageTransformations | None = None
    cache_control: Cached = None


class ToolResultBlock(Request, kw_only=True, tag_field="type", tag="tool_result"):
    """The result of the call *tool_use_id*, or its error."""

    tool_use_id: NonEmpty
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None
    cache_control: Cached = None
    toolset_name: Annotated[str | None, BLOCKS["toolset_name"]] = None


class ToolUseBlock(Request, kw_only=True, tag_field="type", tag="tool_use"):
    """A call of an earlier response."""

    id: NonEmpty
    name: NonEmpty
    input: dict[str, Any]
    cache_control: Cached = None
    caller: Annotated[dict[str, Any] | None, BLOCKS["caller"]] = None
    toolset_name: Annotated[str | None, BLOCKS["toolset_name"]] = None


class ThinkingBlock(Request, kw_only=True, tag_field="type", tag="thinking"):
    """Thinking of an earlier response."""

    thinking: str
    signature: Annotated[str | None, BLOCKS["signature"]] = None


class RedactedThinkingBlock(Request, kw_only=True, tag_field="type", tag="redacted_thinking"):
    """Encrypted thinking; accepted without effect."""

    data: Annotated[str, BLOCKS["data"]]


class FallbackBlock(Request, kw_only=True, tag_field="type", tag="fallback"):
    """A note that another model continued an earlier response; accepted without effect."""

    previous: Annotated[Any, accepted()] = field(default=None, name="from")
    from_: Annotated[Any, accepted("Anthropic's Python SDK dumps `from` so")] = None
    to: Annotated[Any, accepted()] = None
    trigger: Annotated[Any, accepted()] = None


UserContent: TypeAlias = (
    str | Annotated[list[TextBlock | ImageBlock | ToolResultBlock], Meta(min_length=1)]
)

AssistantContent: TypeAlias = (
    str | list[TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | FallbackBlock]
)

SystemContent: TypeAlias = str | list[PlainTextBlock]


class UserTurn(Request, kw_only=True, tag_field="role", tag="user"):
    """A turn of the user's: text, images, and results of tool calls."""

    content: UserContent


class AssistantTurn(Request, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier response, as a client got it; as the last message, the assistant prefill."""

    content: AssistantContent


class SystemTurn(Request, kw_only=True, tag_field="role", tag="system"):
    """Instructions for the model between two turns."""

    content: SystemContent = ""
    clear_at: Annotated[
        Literal["next_user_message", "never"] | None,
        Meta(description="With `next_user_message` the model sees it until the user's next turn."),
    ] = None
    output_config: Annotated[dict[str, Any] | None, BLOCKS["output_config"]] = None


Turn: TypeAlias = UserTurn | AssistantTurn | SystemTurn

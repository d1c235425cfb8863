"""What a request for a response gives to the model: the items of a conversation."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Meta, field

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request
from pilotlight.schema.chat.messages import RefusalPart

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


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

"""Conversations in the shape that a chat template takes, where it does not take them as they are.

Templates differ in what they expect beyond OpenAI's shape: no system role, arguments as text, ids
of nine characters. Each adaptation says the same in another shape. None is used before the
template has failed, refused, or is known to leave out what is said, so whoever fits is rendered
as Transformers does.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.prompt.errors import (
    ChatTemplateError,
    TemplateExceeded,
    TemplateFailed,
    TemplateRefused,
)

Message: TypeAlias = Mapping[str, Any]


Render: TypeAlias = Callable[["Conversation"], str]
Adaptation: TypeAlias = Callable[["Conversation"], "Conversation"]


class Conversation(Struct, frozen=True):
    """What a template is given."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None


def needed(render: Render) -> tuple[Adaptation, ...]:
    """Return the adaptations for what a template leaves out without a complaint.

    Small conversations show it. gpt-oss's and GigaChat's write but the first of several calls;
    theirs and others no system message beyond the first.
    """
    found = ((_drops_calls, _one_call_a_message), (_drops_systems, _system_first))
    return tuple(adapt for drops, adapt in found if drops(render))


def _drops_systems(render: Render) -> bool:
    user, answer = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}
    first, second = ({"role": "system", "content": name} for name in _PROBES)
    for messages in ([first, second, user], [first, user, answer, second, user]):
        try:
            text = render(Conversation(messages, None))
        except ChatTemplateError:
            continue  # it is adapted to what it complains of
        if _PROBES[0] in text and _PROBES[1] not in text:
            return True
    return False


def _drops_calls(render: Render) -> bool:
    calls = [_probing_call(name) for name in _PROBES]
    messages: list[Message] = [
        {"role": "user", "content": "Call."},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": "Done.", "tool_call_id": name} for name in _PROBES),
    ]
    tools = [_probing_tool(name) for name in _PROBES]
    try:
        text = render(Conversation(messages, tools))
        declared = render(Conversation(messages[:1], tools))
    except ChatTemplateError:
        return False  # what is wrong is told when it is asked
    first, second = (text.count(name) - declared.count(name) for name in _PROBES)
    return first > second


_PROBES = ("firstcall", "nextcall1")  # nine letters and digits, as Mistral's want ids


def _probing_call(name: str) -> Message:
    return {"type": "function", "id": name, "function": {"name": name, "arguments": {"of": name}}}


def _probing_tool(name: str) -> Message:
    schema = {"type": "object", "properties": {"of": {"type": "string", "description": "A name."}}}
    function = {"name": name, "description": "It is called.", "parameters": schema}
    return {"type": "function", "function": function}


def adapted(render: Render, conversation: Conversation) -> str:
    """Return what *render* makes of *conversation*, adapted where it fails or refuses.

    An adaptation stays where the template then goes on to another complaint. Raises the first
    error where none helps: it is about what the client sent.
    """
    try:
        return render(conversation)
    except TemplateExceeded:
        raise  # it would do so again
    except (TemplateFailed, TemplateRefused) as error:
        first = complaint = error
    for adapt in _ADAPTATIONS:
        changed = adapt(conversation)
        if changed == conversation:
            continue
        try:
            return render(changed)
        except TemplateExceeded:
            raise
        except (TemplateFailed, TemplateRefused) as error:
            if str(error) != str(complaint):
                conversation, complaint = changed, error
    raise first


# ── tools and calls ─────────────────────────────────────────────────────────────────────────────


def _no_tools_as_a_list(given: Conversation) -> Conversation:
    """Give an empty list: Hermes's go through the tools, whether there are any or not."""
    return Conversation(given.messages, []) if given.tools is None else given


def _arguments_as_text(given: Conversation) -> Conversation:
    """Write arguments as text, as OpenAI's API does: Functionary's write what comes."""

    def text(arguments: Any) -> Any:
        if isinstance(arguments, str):
            return arguments
        return json.dumps(arguments, ensure_ascii=False)

    return _with_arguments(given, text)


def _arguments_as_object(given: Conversation) -> Conversation:
    """Make an object of what a model wrote in place of one: many go through its items."""

    def mapping(arguments: Any) -> Any:
        return {"arguments": arguments} if isinstance(arguments, str) else arguments

    return _with_arguments(given, mapping)


def _with_arguments(given: Conversation, change: Callable[[Any], Any]) -> Conversation:
    def changed(call: Message) -> Message:
        function = call["function"]
        return {**call, "function": {**function, "arguments": change(function["arguments"])}}

    return _each(given, lambda message: _with_calls(message, changed))


def _short_ids(given: Conversation) -> Conversation:
    """Give calls ids of nine letters and digits, as Mistral's take them."""

    def changed(message: Message) -> Message:
        message = _with_calls(message, lambda call: {**call, "id": _short(call.get("id"))})
        if "tool_call_id" in message:
            message = {**message, "tool_call_id": _short(message["tool_call_id"])}
        return message

    return _each(given, changed)


def _short(name: object) -> str:
    text = str(name)
    if len(text) == len("123456789") and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _one_call_a_message(given: Conversation) -> Conversation:
    """Give each call a message, with its result behind it: Llama 3's take one at a time."""
    messages: list[Message] = []
    waiting: list[Message] = []
    for message in given.messages:
        calls = message.get("tool_calls") or ()
        if message.get("role") == "tool":
            number = _asked(waiting, message)
            messages += [waiting.pop(number), message] if number is not None else [message]
            continue
        messages += waiting
        waiting = []
        if len(calls) < 2:  # noqa: PLR2004 - it has one call, or none
            messages.append(message)
            continue
        waiting = [{**message, "tool_calls": [call]} for call in calls]
        # What was said before the calls is said once.
        silent = {"content": "", "reasoning_content": ""}
        waiting[1:] = [
            {name: silent.get(name, value) for name, value in one.items()} for one in waiting[1:]
        ]
    return Conversation([*messages, *waiting], given.tools)


def _asked(waiting: Sequence[Message], result: Message) -> int | None:
    """Return which of the calls that wait *result* belongs to: by its id, else the first."""
    for number, message in enumerate(waiting):
        if message["tool_calls"][0].get("id") == result.get("tool_call_id"):
            return number
    return 0 if waiting else None


def _reasoning_or_content(given: Conversation) -> Conversation:
    """Join what gpt-oss's take one of, beside calls: reasoning, or a text before them."""

    def changed(message: Message) -> Message:
        reasoning, content = message.get("reasoning_content"), message.get("content")
        if not (message.get("tool_calls") and reasoning and content):
            return message
        return {**message, "reasoning_content": f"{reasoning}\n\n{content}", "content": ""}

    return _each(given, changed)


def _described(given: Conversation) -> Conversation:
    """Describe what has no description: Command R's write every one."""
    if not given.tools:
        return given
    return Conversation(given.messages, [_with_descriptions(tool) for tool in given.tools])


def _with_descriptions(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = {"description": "", "parameters": {}, **tool["function"]}
    schema = {"type": "object", "properties": {}, **function["parameters"]}
    declared = schema["properties"]
    if not isinstance(declared, Mapping):  # the client's own, which nothing has checked yet
        return tool
    properties = {
        name: {"description": "", **one} if isinstance(one, Mapping) else one
        for name, one in declared.items()
    }
    return {**tool, "function": {**function, "parameters": {**schema, "properties": properties}}}


# ── roles ───────────────────────────────────────────────────────────────────────────────────────


def _system_first(given: Conversation) -> Conversation:
    """Put one system message at the beginning, as many take it; a later one is the user's."""
    leading = list(_leading_systems(given.messages))
    rest = [
        {**one, "role": "user"} if one.get("role") == "system" else one
        for one in given.messages[len(leading) :]
    ]
    joined = [_joined(leading)] if leading else []
    return Conversation([*joined, *rest], given.tools)


def _no_system(given: Conversation) -> Conversation:
    """Let the user say what the system does: Gemma 2's have no such role."""
    messages = [
        {**one, "role": "user"} if one.get("role") == "system" else one for one in given.messages
    ]
    return _alternating(Conversation(messages, given.tools))


def _alternating(given: Conversation) -> Conversation:
    """Make neighbours of one role one message: Mistral's and others take turns."""
    messages: list[Message] = []
    for message in given.messages:
        role = message.get("role")
        if messages and role in ("user", "assistant") and messages[-1].get("role") == role:
            messages[-1] = _joined([messages[-1], message])
        else:
            messages.append(message)
    return Conversation(messages, given.tools)


def _leading_systems(messages: Sequence[Message]) -> Iterator[Message]:
    for message in messages:
        if message.get("role") != "system":
            return
        yield message


def _joined(messages: Sequence[Message]) -> Message:
    """Return one message that says what *messages* of one role say."""
    first, *others = messages
    for other in others:
        merged = {**first, **other}
        for name in ("content", "reasoning_content"):
            texts = [one[name] for one in (first, other) if one.get(name)]
            if name in merged:
                merged[name] = "\n\n".join(texts)
        calls = [*(first.get("tool_calls") or ()), *(other.get("tool_calls") or ())]
        if calls:
            merged["tool_calls"] = calls
        first = merged
    return first


# ── all of them ─────────────────────────────────────────────────────────────────────────────────


def _each(given: Conversation, change: Callable[[Message], Message]) -> Conversation:
    return Conversation([change(message) for message in given.messages], given.tools)


def _with_calls(message: Message, change: Callable[[Message], Message]) -> Message:
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [change(call) for call in message["tool_calls"]]}


_ADAPTATIONS: tuple[Adaptation, ...] = (
    _no_tools_as_a_list,
    _described,
    _arguments_as_text,
    _arguments_as_object,
    _short_ids,
    _one_call_a_message,
    _reasoning_or_content,
    _system_first,
    _alternating,
    lambda given: _alternating(_system_first(given)),
    _no_system,
)

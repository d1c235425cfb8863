"""Workarounds: the same conversation in another shape, for chat templates that need one.

Templates differ in what they expect beyond OpenAI's shape: no system role, arguments as text, call
ids of nine characters. llama.cpp has workarounds for the same (`workaround::` in common/chat.cpp).
None is applied before the template fails, refuses the conversation, or is known to drop a part of
it, so all other conversations are rendered as in Transformers.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from pilotlight.prompt.errors import (
    ChatTemplateError,
    TemplateExceeded,
    TemplateFailed,
    TemplateRefused,
)
from pilotlight.prompt.template_variables import TemplateVariables

Message: TypeAlias = Mapping[str, Any]


Render: TypeAlias = Callable[[TemplateVariables], str]
Workaround: TypeAlias = Callable[[TemplateVariables], TemplateVariables]


def required_workarounds(render: Render) -> tuple[Workaround, ...]:
    """Return the workarounds for parts of a conversation that the template drops silently.

    Probe conversations show it. The templates of gpt-oss and GigaChat write only the first of
    several calls; theirs and others write only the first system message.
    """
    silent = ((_drops_calls, _one_call_a_message), (_drops_systems, _system_first))
    return tuple(workaround for drops, workaround in silent if drops(render))


def _drops_systems(render: Render) -> bool:
    user, answer = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}
    first, second = ({"role": "system", "content": name} for name in _PROBES)
    for messages in ([first, second, user], [first, user, answer, second, user]):
        try:
            text = render(TemplateVariables(messages, None))
        except ChatTemplateError:
            continue  # a template that raises gets its workaround when a request fails
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
        text = render(TemplateVariables(messages, tools))
        declared = render(TemplateVariables(messages[:1], tools))
    except ChatTemplateError:
        return False  # a template that raises gets its workaround when a request fails
    first, second = (text.count(name) - declared.count(name) for name in _PROBES)
    return first > second


_PROBES = ("firstcall", "nextcall1")  # nine letters and digits, as in Mistral's call ids


def _probing_call(name: str) -> Message:
    return {"type": "function", "id": name, "function": {"name": name, "arguments": {"of": name}}}


def _probing_tool(name: str) -> Message:
    schema = {"type": "object", "properties": {"of": {"type": "string", "description": "A name."}}}
    function = {"name": name, "description": "It is called.", "parameters": schema}
    return {"type": "function", "function": function}


def render_with_workarounds(render: Render, given: TemplateVariables) -> str:
    """Render *given*, with workarounds if the template fails or refuses it.

    A workaround stays in effect if the template then raises another error. Raises the first error
    if none helps: that one is about what the client sent.
    """
    try:
        return render(given)
    except TemplateExceeded:
        raise  # a workaround does not make it smaller
    except (TemplateFailed, TemplateRefused) as error:
        first = latest = error
    for apply in _WORKAROUNDS:
        changed = apply(given)
        if changed == given:
            continue
        try:
            return render(changed)
        except TemplateExceeded:
            raise
        except (TemplateFailed, TemplateRefused) as error:
            if str(error) != str(latest):
                given, latest = changed, error
    raise first


# ── tools and calls ─────────────────────────────────────────────────────────────────────────────


def _no_tools_as_a_list(given: TemplateVariables) -> TemplateVariables:
    """Pass an empty list of tools: Hermes's template iterates over them, even if there are none."""
    return replace(given, tools=[]) if given.tools is None else given


def _arguments_as_text(given: TemplateVariables) -> TemplateVariables:
    """Pass arguments as JSON text, as in OpenAI's API: Functionary's writes them as given."""

    def text(arguments: Any) -> Any:
        if isinstance(arguments, str):
            return arguments
        return json.dumps(arguments, ensure_ascii=False)

    return _with_arguments(given, text)


def _arguments_as_object(given: TemplateVariables) -> TemplateVariables:
    """Wrap arguments that are not an object in one: many templates iterate over its items."""

    def mapping(arguments: Any) -> Any:
        return {"arguments": arguments} if isinstance(arguments, str) else arguments

    return _with_arguments(given, mapping)


def _with_arguments(given: TemplateVariables, change: Callable[[Any], Any]) -> TemplateVariables:
    def changed(call: Message) -> Message:
        function = call["function"]
        return {**call, "function": {**function, "arguments": change(function["arguments"])}}

    return _each(given, lambda message: _with_calls(message, changed))


def _short_ids(given: TemplateVariables) -> TemplateVariables:
    """Give calls ids of nine letters and digits: Mistral's templates refuse others."""

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


def _one_call_a_message(given: TemplateVariables) -> TemplateVariables:
    """Give each call a message of its own, followed by its result: Llama 3's take one call each."""
    messages: list[Message] = []
    waiting: list[Message] = []
    for message in given.messages:
        calls = message.get("tool_calls") or ()
        if message.get("role") == "tool":
            number = _call_of(waiting, message)
            messages += [waiting.pop(number), message] if number is not None else [message]
            continue
        messages += waiting
        waiting = []
        if len(calls) < 2:  # noqa: PLR2004 - one call, or none
            messages.append(message)
            continue
        waiting = [{**message, "tool_calls": [call]} for call in calls]
        # Content and reasoning stay with the first call only.
        emptied = {"content": "", "reasoning_content": ""}
        waiting[1:] = [
            {name: emptied.get(name, value) for name, value in one.items()} for one in waiting[1:]
        ]
    return replace(given, messages=[*messages, *waiting])


def _call_of(waiting: Sequence[Message], result: Message) -> int | None:
    """Return which of the *waiting* calls *result* belongs to: by its id, else the first."""
    for number, message in enumerate(waiting):
        if message["tool_calls"][0].get("id") == result.get("tool_call_id"):
            return number
    return 0 if waiting else None


def _reasoning_or_content(given: TemplateVariables) -> TemplateVariables:
    """Join reasoning and content of messages with calls: gpt-oss's template takes one of them."""

    def changed(message: Message) -> Message:
        reasoning, content = message.get("reasoning_content"), message.get("content")
        if not (message.get("tool_calls") and reasoning and content):
            return message
        return {**message, "reasoning_content": f"{reasoning}\n\n{content}", "content": ""}

    return _each(given, changed)


def _described(given: TemplateVariables) -> TemplateVariables:
    """Add empty descriptions: Command R's template reads every one."""
    if not given.tools:
        return given
    return replace(given, tools=[_with_descriptions(tool) for tool in given.tools])


def _with_descriptions(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = {"description": "", "parameters": {}, **tool["function"]}
    schema = {"type": "object", "properties": {}, **function["parameters"]}
    declared = schema["properties"]
    if not isinstance(declared, Mapping):  # the client's schema, not checked yet
        return tool
    properties = {
        name: {"description": "", **one} if isinstance(one, Mapping) else one
        for name, one in declared.items()
    }
    return {**tool, "function": {**function, "parameters": {**schema, "properties": properties}}}


# ── roles ───────────────────────────────────────────────────────────────────────────────────────


def _system_first(given: TemplateVariables) -> TemplateVariables:
    """Merge leading system messages into one, and give later ones the role `user`."""
    leading = list(_leading_systems(given.messages))
    rest = [
        {**one, "role": "user"} if one.get("role") == "system" else one
        for one in given.messages[len(leading) :]
    ]
    joined = [_joined(leading)] if leading else []
    return replace(given, messages=[*joined, *rest])


def _no_system(given: TemplateVariables) -> TemplateVariables:
    """Give system messages the role `user`: Gemma 2's template has no system role."""
    messages = [
        {**one, "role": "user"} if one.get("role") == "system" else one for one in given.messages
    ]
    return _alternating(replace(given, messages=messages))


def _alternating(given: TemplateVariables) -> TemplateVariables:
    """Merge neighbours of one role: Mistral's and other templates require alternating roles."""
    messages: list[Message] = []
    for message in given.messages:
        role = message.get("role")
        if messages and role in ("user", "assistant") and messages[-1].get("role") == role:
            messages[-1] = _joined([messages[-1], message])
        else:
            messages.append(message)
    return replace(given, messages=messages)


def _leading_systems(messages: Sequence[Message]) -> Iterator[Message]:
    for message in messages:
        if message.get("role") != "system":
            return
        yield message


def _joined(messages: Sequence[Message]) -> Message:
    """Return *messages* of one role merged into one."""
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


# ── all workarounds ──────────────────────────────────────────────────────────────────────────


def _each(given: TemplateVariables, change: Callable[[Message], Message]) -> TemplateVariables:
    return replace(given, messages=[change(message) for message in given.messages])


def _with_calls(message: Message, change: Callable[[Message], Message]) -> Message:
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [change(call) for call in message["tool_calls"]]}


# In the order of trial: first those that keep every role and message.
_WORKAROUNDS: tuple[Workaround, ...] = (
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

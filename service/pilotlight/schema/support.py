"""Fields and tools of the vendors' APIs that this server does not support: accepted or refused.

A field or a declared tool is accepted without effect if the response is correct without it. One
that changes the meaning of the request (a conversation that is stored elsewhere, an item that
refers to it, an input that cannot be read) is refused by name, whatever `unknown_fields` is.

The tables list the fields of each API by that rule; the wire types take their descriptions from
here, and docs/api.md lists them all. Every other field of a wire type is honoured.
"""

import re
from typing import Any

from msgspec import Meta

ACCEPTED, REFUSED, HINT, ONLY = "accepted", "refused", "hint", "only"
"""Keys of `Meta.extra`: the fate of a field, its only value, or advice about an invalid one."""


def accepted(reason: str = "") -> Meta:
    """Return the description of a field that is accepted without effect, and why."""
    text = f"Accepted without effect: {reason}." if reason else "Accepted without effect."
    return Meta(description=text, extra={ACCEPTED: reason})


def refused(reason: str) -> Meta:
    """Return the description of a field that is refused; it is typed `None`."""
    return Meta(description=f"Refused: {reason}.", extra={REFUSED: reason})


def _only(reason: str, *, value: bool) -> Meta:
    """Return the description of a switch that is accepted as *value* only."""
    said = "true" if value else "false"
    return Meta(
        description=f"Accepted as `{said}` only: {reason}.",
        extra={ACCEPTED: reason, ONLY: value},
        extra_json_schema={"not": {"const": not value}},
    )


NO_EFFECT = accepted()

# ── fields ──────────────────────────────────────────────────────────────────────────────────────

_CACHED = "every prompt's prefix is cached"
_NOT_STORED = "nothing is stored"
_ALL_TEXT = "responses are text"

SAMPLING: dict[str, Meta] = {
    "cache_prompt": accepted(_CACHED),
    "guided_decoding_backend": accepted("the server has one backend for this"),
    "id_slot": accepted("the slot with the longest cached prefix is used"),
    "keep_alive": accepted("`idle_ttl` says when a model is unloaded"),
    "length_penalty": accepted("it applies to beam search only"),
    "n_keep": accepted("no prompt is shifted out of the context"),
    "priority": accepted("the queue is fair to all callers"),
    "request_id": accepted("use the header `X-Request-ID`"),
    "return_progress": accepted("a waiting stream sends comments"),
    "spaces_between_special_tokens": accepted("responses omit control tokens"),
    "timings_per_token": accepted("the header `Server-Timing` has timings"),
    "include_stop_str_in_output": _only("responses omit the stop text", value=False),
    "skip_special_tokens": _only("responses omit control tokens", value=True),
    "use_beam_search": _only("beam search is not supported", value=False),
}
"""Of chat and text completions: what clients of llama-server, Ollama and vLLM add."""

CHAT: dict[str, Meta] = {
    "models": accepted("only `model` is used"),
    "provider": accepted("this server is the only provider"),
    "route": accepted("only `model` is used"),
    "transforms": accepted("no input is truncated; one that is too long is refused"),
    "usage": accepted("use `stream_options.include_usage`"),
    "metadata": accepted(_NOT_STORED),
    "prediction": accepted("it changes the speed only"),
    "prompt_cache_key": accepted(_CACHED),
    "prompt_cache_options": accepted(_CACHED),
    "prompt_cache_retention": accepted(_CACHED),
    "safety_identifier": accepted(),
    "service_tier": accepted(),
    "store": accepted(_NOT_STORED),
    "user": accepted(),
    "verbosity": accepted(),
    "web_search_options": accepted("nothing is searched"),
    "audio": refused(f"{_ALL_TEXT}; omit it"),
    "function_call": refused("it is deprecated; use `tool_choice`"),
    "functions": refused("it is deprecated; use `tools`"),
    "moderation": refused("nothing is moderated; omit it"),
}
"""Of `/v1/chat/completions`."""

CHAT_MESSAGES: dict[str, Meta] = {
    "closed": accepted(),
    "extra_content": accepted(),
    "finish_reason": accepted(),
    "id": accepted(_NOT_STORED),
    "metadata": accepted(_NOT_STORED),
    "partial": accepted("a last assistant message is always continued"),
    "prefix": accepted("a last assistant message is always continued"),
    "reasoning_opaque": accepted("`reasoning_content` is used"),
    "reasoning_text": accepted("`reasoning_content` is used"),
    "signature": accepted("nothing is signed"),
    "annotations": accepted(),
    "cache_control": accepted(_CACHED),
    "reasoning_details": accepted("`reasoning_content` is used"),
    "index": accepted("calls have the order of their list"),
    "logprobs": accepted(),
    "parsed": accepted("the text is used"),
    "parsed_arguments": accepted("the text of the arguments is used"),
    "prompt_cache_breakpoint": accepted(_CACHED),
    "provider_specific_fields": accepted(),
    "thinking_blocks": accepted("`reasoning_content` is used"),
    "audio": refused(f"{_ALL_TEXT}; send what was said as `content`"),
    "function_call": refused("it is deprecated; use `tool_calls`"),
}
"""Of chat's messages: fields that clients gather from streams or SDKs add to responses."""

RERANK: dict[str, Meta] = {
    "max_chunks_per_doc": accepted("a document is scored as a whole"),
    "priority": accepted("requests are scored in the order in which they come"),
    "user": accepted(),
    "relevant_spans": refused("spans are not scored; omit it"),
}
"""Of `/v1/rerank` and `/v2/rerank`."""

COMPLETIONS: dict[str, Meta] = {
    "suffix": refused(
        "text is not inserted; omit it, or write the model's own fill-in-the-middle"
        " tokens into `prompt`"
    ),
    "user": accepted(),
}
"""Of `/v1/completions`."""

RESPONSES: dict[str, Meta] = {
    "access_programs": accepted(),
    "client_metadata": accepted(),
    "context_management": accepted("the conversation is used as it is sent"),
    "image": accepted("images are parts of `input`"),
    "max_tool_calls": accepted("it limits tools that OpenAI runs"),
    "prompt_cache_key": accepted(_CACHED),
    "prompt_cache_options": accepted(_CACHED),
    "prompt_cache_retention": accepted(_CACHED),
    "safety_identifier": accepted(),
    "service_tier": accepted(),
    "store": accepted(_NOT_STORED),
    "truncation": accepted("no input is truncated; one that is too long is refused"),
    "user": accepted(),
    "background_options": refused("no response is stored; omit it"),
    "conversation": refused("no conversation is stored; send all of its items as `input`"),
    "moderation": refused("nothing is moderated; omit it"),
    "prompt": refused("no prompt is stored; send its text as `instructions` and `input`"),
}
"""Of `/v1/responses`. `background` and `previous_response_id` are refused where they are read."""

RESPONSE_ITEMS: dict[str, Meta] = {
    "annotations": accepted(),
    "cache_control": accepted(_CACHED),
    "async": accepted(),
    "async_": accepted("OpenAI's Python SDK dumps `async` so"),
    "caller": accepted(),
    "encrypted_content": accepted("this server cannot read it"),
    "file_id": refused("no file is stored; send the image as `image_url`, a data URL"),
    "id": accepted(_NOT_STORED),
    "logprobs": accepted(),
    "name": accepted("`call_id` names the call"),
    "namespace": accepted("functions are called by name alone"),
    "parsed": accepted("the text is used"),
    "parsed_arguments": accepted("the text of the arguments is used"),
    "phase": accepted(),
    "prompt_cache_breakpoint": accepted(_CACHED),
    "status": accepted(),
}
"""Of the items that a request for a response gives, and of their parts."""

MESSAGES: dict[str, Meta] = {
    "billing_policy": accepted("there is no billing"),
    "cache_control": accepted(_CACHED),
    "context_management": accepted("the conversation is used as it is sent"),
    "diagnostics": accepted("`usage` has the cached tokens"),
    "fallback_credit_token": accepted("there is no billing"),
    "fallbacks": accepted("only `model` is used"),
    "mcp_servers": accepted("the client calls MCP servers"),
    "metadata": accepted(),
    "service_tier": accepted(),
    "speed": accepted(),
    "compaction": refused("nothing is compacted; ask for a summary in a message"),
    "container": refused("nothing is executed or stored here; omit it"),
    "inference_geo": refused("the server's own location is used; omit it"),
}
"""Of `/v1/messages` and `/v1/messages/count_tokens`."""

BLOCKS: dict[str, Meta] = {
    "output_config": accepted("the request's own is used"),
    "cache_control": accepted(_CACHED),
    "caller": accepted(),
    "citations": accepted(),
    "data": accepted("this server cannot read it"),
    "parsed_output": accepted("the text is used"),
    "signature": accepted("nothing is signed"),
    "toolset_name": accepted("tools are called by name alone"),
}
"""Of messages, and of the blocks that they are made of."""

MAX_TOKENS_HINT = {
    HINT: "no number means unlimited; omit it, or send a large number: a response ends with the"
    " model's context"
}

# ── types of tools, items and parts ─────────────────────────────────────────────────────────────

OPENAI_VENDOR_TOOLS = re.compile(
    r"(apply_patch|code_interpreter|computer|computer_use|computer_use_preview|custom|file_search"
    r"|image_generation|local_shell|mcp|namespace|programmatic_tool_calling|shell|tool_search"
    r"|web_search|web_search_preview)(_\d{4}_\d{2}_\d{2})?"
)
"""Types of tools of OpenAI's that are skipped.

Most are run by the vendor alone. `apply_patch`, `custom`, `local_shell`, `namespace` and `shell`
are run by clients, but without a JSON Schema of their own that a model could be shown: the vendor's
models are trained for them. A client that declares one has a function for the same purpose too.
"""

CHAT_VENDOR_TOOLS = re.compile(r"custom|web_search|web_search_preview|file_search|code_interpreter")
"""The same for chat completions, which has `custom` alone and which some clients send more to."""

ANTHROPIC_VENDOR_TOOLS = re.compile(
    r"(advisor|bash|browser|browser_toolset|code_execution|computer|computer_toolset|memory"
    r"|text_editor|tool_search_tool_bm25|tool_search_tool_regex|web_fetch|web_search)(_\d{8})?"
    r"|mcp_toolset"
)
"""Types of tools of Anthropic's that are skipped, of any date: they come without `input_schema`.

Anthropic's models know the schemas of `bash`, `computer`, `memory` and `text_editor`, which clients
run, by heart; no other model does. A tool of type `custom` with a schema of its own is shown.
"""

_ONLY_CALLS = "only function calls are supported; send it as function_call, or omit it"
_ONLY_TEXT = "input is text and images; send its text, or omit it"
IMAGES_OF_USERS = "images are allowed in messages of the user's and in results of tools only"
_VENDORS = "only the vendor's servers can use it; omit it"
_OF_ASSISTANTS = "allowed in assistant messages only"
_LATE_TOOLS = "declare tools in `tools`"

REFUSED_TYPES: dict[str, str] = {
    # chat
    "audio": "responses are text",
    "custom": "only function calls are supported; send it as a function's call",
    "function": "the role is deprecated; use `tool` with a `tool_call_id`",
    "image_url": IMAGES_OF_USERS,
    "input_audio": _ONLY_TEXT,
    "file": _ONLY_TEXT,
    "video_url": _ONLY_TEXT,
    # responses
    "item_reference": (
        "nothing is stored; send the items themselves, as the AI SDK does with `store: false`"
    ),
    "input_image": IMAGES_OF_USERS,
    "input_file": _ONLY_TEXT,
    "apply_patch_call": _ONLY_CALLS,
    "apply_patch_call_output": _ONLY_CALLS,
    "code_interpreter_call": _ONLY_CALLS,
    "compaction": _VENDORS,
    "compaction_trigger": "nothing is compacted; ask for a summary in a message",
    "computer_call": _ONLY_CALLS,
    "computer_call_output": _ONLY_CALLS,
    "configuration_update": "use the request's own fields",
    "file_search_call": _ONLY_CALLS,
    "image_generation_call": _ONLY_CALLS,
    "local_shell_call": _ONLY_CALLS,
    "local_shell_call_output": _ONLY_CALLS,
    "mcp_approval_request": _ONLY_CALLS,
    "mcp_approval_response": _ONLY_CALLS,
    "mcp_call": _ONLY_CALLS,
    "program": _ONLY_CALLS,
    "program_output": _ONLY_CALLS,
    "shell_call": _ONLY_CALLS,
    "shell_call_output": _ONLY_CALLS,
    "tool_search_call": _ONLY_CALLS,
    "tool_search_output": _LATE_TOOLS,
    # messages
    "image": IMAGES_OF_USERS,
    "document": _ONLY_TEXT,
    "search_result": _ONLY_TEXT,
    "browser_state": _ONLY_TEXT,
    "tool_reference": _LATE_TOOLS,
    "tool_addition": _LATE_TOOLS,
    "tool_removal": _LATE_TOOLS,
    "mcp_tool_listing": _LATE_TOOLS,
    "container_upload": "nothing is executed or stored here; send the file's text",
    "server_tool_use": _VENDORS,
    "advisor_tool_result": _VENDORS,
    "web_search_tool_result": _VENDORS,
    "web_fetch_tool_result": _VENDORS,
    "code_execution_tool_result": _VENDORS,
    "bash_code_execution_tool_result": _VENDORS,
    "text_editor_code_execution_tool_result": _VENDORS,
    "tool_search_tool_result": _VENDORS,
    "mcp_tool_use": _VENDORS,
    "mcp_tool_result": _VENDORS,
    "fallback": _OF_ASSISTANTS,
    "redacted_thinking": _OF_ASSISTANTS,
    "thinking": _OF_ASSISTANTS,
    "tool_use": _OF_ASSISTANTS,
    "tool_result": "allowed in user messages only",
    "between_tools": "thinking between tool calls is not supported; use `adaptive`",
}
"""Why types of messages, items and parts, and some values, are refused, and what to send."""


OTHER_NAMES: dict[str, str] = {
    "bad_words": "give their tokens a `logit_bias` of -100",
    "enable_thinking": 'write `chat_template_kwargs: {"enable_thinking": …}`',
    "format": "write `response_format`",
    "guided_grammar": "write `grammar`",
    "include_reasoning": "use `reasoning_effort`",
    "max_new_tokens": "write `max_tokens`",
    "n_predict": "write `max_tokens`",
    "num_ctx": "the server's `context_length` is used",
    "num_predict": "write `max_tokens`",
    "options": "write each option beside `model`",
    "random_seed": "write `seed`",
    "reasoning": "write `reasoning_effort`",
    "structured_outputs": "write `response_format`, `guided_regex`, `guided_choice` or `grammar`",
    "think": "write `reasoning_effort`",
    "thinking": "write `reasoning_effort`",
    "thinking_budget": "write `reasoning_effort`",
    "typical": "write `typical_p`",
}
"""Other servers' names of what a request for text can say here."""


def fate_of(extra: dict[str, Any] | None) -> str:
    """Return what becomes of a field whose `Meta` has *extra*: accepted, refused or supported."""
    for fate in (ACCEPTED, REFUSED):
        if fate in (extra or {}):
            return fate
    return "supported"

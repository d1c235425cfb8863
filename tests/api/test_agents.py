"""First requests of coding agents, reduced: what they send beside the conversation.

Claude Code 2.1 and Codex CLI 0.171 send these fields, headers and kinds of tools; the texts are
other ones.
"""

from typing import Any

import pytest

from tests.conftest import RESPONSES, FakeService, events

MESSAGES = "/v1/messages?beta=true"
CACHED = {"cache_control": {"type": "ephemeral"}}
COMMAND = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "command": {"description": "What to run", "type": "string"},
        "timeout": {"type": "number"},
        "background": {"type": "boolean"},
    },
    "required": ["command"],
    "additionalProperties": False,
}

CLAUDE_CODE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<reminder>\nToday is Monday.\n</reminder>"},
                {"type": "text", "text": "say hello", **CACHED},
            ],
        }
    ],
    "system": [
        {"type": "text", "text": "x-billing: none"},
        {"type": "text", "text": "You help with code.", **CACHED},
    ],
    "tools": [
        {"name": "Bash", "description": "Runs a command.", "input_schema": COMMAND},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    ],
    "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
    "max_tokens": 32000,
    "thinking": {"budget_tokens": 31999, "type": "enabled"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "stream": True,
}
CLAUDE_CODE_HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    "x-api-key": "none",
    "x-app": "cli",
}
CLAUDE_CODE_RESULT: dict[str, Any] = {
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "messages": [
        *CLAUDE_CODE["messages"],
        {"role": "system", "content": "One agent is there."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Run it.", "signature": ""},
                {"type": "text", "text": "I run it."},
                {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "echo hi"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "tool_use_id": "t1",
                    "type": "tool_result",
                    "content": "hi",
                    "is_error": False,
                    **CACHED,
                }
            ],
        },
    ],
}

CODEX: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "input": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You write code."}],
        },
        {
            "type": "message",
            "id": "msg_2",
            "role": "user",
            "content": [{"type": "input_text", "text": "say hello"}],
        },
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs a command.",
            "strict": False,
            "parameters": COMMAND,
        },
        {
            "type": "namespace",
            "name": "agents",
            "description": "Other agents.",
            "tools": [
                {"type": "function", "name": "spawn", "strict": False, "parameters": COMMAND}
            ],
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"session_id": "s", "turn": '{"sandbox":"none"}'},
}
CODEX_RESULT: dict[str, Any] = {
    "input": [
        *CODEX["input"],
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Run it."}],
            "encrypted_content": None,
        },
        {
            "type": "message",
            "status": "completed",
            "id": "msg_3",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "I run it.", "annotations": [], "logprobs": []}
            ],
        },
        {
            "type": "function_call",
            "status": "completed",
            "id": "fc_1",
            "name": "exec_command",
            "arguments": '{"command": "echo hi"}',
            "call_id": "c1",
        },
        {"type": "function_call_output", "id": "fco_1", "call_id": "c1", "output": "hi"},
    ]
}

HISTORY = "I run it.<tool_call>\n"


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [(MESSAGES, CLAUDE_CODE, CLAUDE_CODE_HEADERS), (RESPONSES, CODEX, {"originator": "codex"})],
    ids=["claude-code", "codex"],
)
async def test_the_first_request(service: FakeService, path: str, body: Any, headers: Any):
    """It is answered with a stream; the model sees the tools that the client runs, and no other."""
    response = await service.post(body, path=path, **headers)

    assert response.status_code == 200, response.text
    deltas = [one.get("delta") for one in events(response.text)]
    texts = [one if isinstance(one, str) else one.get("text", "") for one in deltas if one]
    assert "".join(texts) == "Hello."
    prompt = service.engine.detokenize(service.engine.requests[0].prompt)
    assert prompt.count('{"type": "function", "function": {"name": ') == 1
    assert "web_search" not in prompt
    assert "spawn" not in prompt


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [(MESSAGES, CLAUDE_CODE, CLAUDE_CODE_RESULT), (RESPONSES, CODEX, CODEX_RESULT)],
    ids=["claude-code", "codex"],
)
async def test_what_a_tool_answered(service: FakeService, path: str, body: Any, more: Any):
    """The history that the agent gathered from the stream is accepted as it is."""
    response = await service.post(body | more, path=path)

    assert response.status_code == 200, response.text
    prompt = service.engine.detokenize(service.engine.requests[0].prompt)
    assert (
        '"arguments": {"command": "echo hi"}}\n</tool_call><|im_end|>\n<|im_start|>tool\nhi'
        in (prompt.partition(HISTORY)[2])
    )

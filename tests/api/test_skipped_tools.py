"""Tools and fields that only a vendor's servers honour: skipped, or refused by name."""

from typing import Any

import pytest

from tests.conftest import CHAT, RESPONSES, FakeService

pytestmark = pytest.mark.slow

COMPLETIONS, MESSAGES, COUNT = "/v1/completions", "/v1/messages", "/v1/messages/count_tokens"
SCHEMA = {"type": "object", "properties": {}}
SEARCH = {"type": "web_search", "search_context_size": "low"}
NAMESPACE = {"type": "namespace", "name": "agents", "description": "d", "tools": []}
BASH = {"type": "bash_20250124", "name": "bash"}
FETCH = {"type": "web_fetch_20991231", "name": "fetch", "max_uses": 3}
HI = [{"role": "user", "content": "hi"}]


def function(path: str, name: str = "add") -> dict[str, Any]:
    """Return a tool that the model is offered, as the API at *path* has it."""
    if path == CHAT:
        return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}
    if path == RESPONSES:
        return {"type": "function", "name": name, "parameters": SCHEMA}
    return {"name": name, "input_schema": SCHEMA}


def asked(path: str, **fields: Any) -> dict[str, Any]:
    """Return a request for the API at *path*."""
    if path == RESPONSES:
        return {"model": "m", "input": "hi", **fields}
    if path == COMPLETIONS:
        return {"model": "m", "prompt": "hi", **fields}
    return {"model": "m", "max_tokens": 9, "messages": HI, **fields}


def prompt(service: FakeService) -> str:
    """Return the last prompt, as the model reads it."""
    return service.engine.detokenize(service.engine.requests[-1].prompt)


SKIPPED = [
    (CHAT, {"type": "custom", "custom": {"name": "patch"}}),
    (CHAT, {"type": "web_search"}),
    (RESPONSES, SEARCH),
    (RESPONSES, NAMESPACE),
    (RESPONSES, {"type": "web_search_preview_2025_03_11"}),
    (RESPONSES, {"type": "custom", "name": "patch", "format": {"type": "text"}}),
    (RESPONSES, {"type": "mcp", "server_label": "s", "server_url": "http://127.0.0.1:9"}),
    (MESSAGES, BASH),
    (MESSAGES, FETCH),
    (MESSAGES, {"type": "mcp_toolset", "mcp_server_name": "s"}),
    (MESSAGES, {"type": "tool_search_tool_regex", "name": "tool_search"}),
    (MESSAGES, function(MESSAGES, "hidden") | {"allowed_callers": ["code_execution_20250825"]}),
]


@pytest.mark.parametrize(("path", "tool"), SKIPPED)
async def test_a_tool_is_skipped(service, path, tool):
    """The model sees the tools beside it, wherever it stands, and nothing of itself."""
    for tools in ([tool, function(path)], [function(path), tool], [tool]):
        response = await service.post(asked(path, tools=tools), path=path)
        assert response.status_code == 200, response.text
        said = prompt(service)
        assert ('"name": "add"' in said) == (len(tools) == 2)
        for name in (tool.get("name"), tool.get("type")):
            assert name is None or f'"{name}"' not in said


async def test_a_skipped_tool_is_not_counted(service):
    """The tokens are those of the tools that the model sees."""
    counts = [
        (await service.post({"model": "m", "messages": HI, "tools": tools}, path=COUNT)).json()
        for tools in ([function(MESSAGES)], [function(MESSAGES), BASH, FETCH])
    ]
    assert counts[0] == counts[1]


async def test_an_answer_says_what_was_declared(service):
    """Also of tools that were skipped, in their places."""
    tools = [NAMESPACE, function(RESPONSES), SEARCH]
    response = await service.post(asked(RESPONSES, tools=tools), path=RESPONSES)
    declared = response.json()["tools"]
    assert (declared[0], declared[2]) == (NAMESPACE, SEARCH)
    assert declared[1]["name"] == "add"


FORCED = [
    (CHAT, {"type": "custom", "name": "patch"}, "required", "tool_choice", "patch"),
    (
        CHAT,
        {"type": "custom", "name": "patch"},
        {"type": "function", "function": {"name": "patch"}},
        "tool_choice.function.name",
        "'patch' is of type custom",
    ),
    (
        CHAT,
        {"type": "custom", "name": "patch"},
        {"type": "custom", "custom": {"name": "patch"}},
        "tool_choice.type",
        "'custom'; tools of this type are skipped",
    ),
    (RESPONSES, SEARCH, "required", "tool_choice", "skipped: web_search"),
    (
        RESPONSES,
        SEARCH,
        {"type": "web_search_preview"},
        "tool_choice.type",
        "'web_search_preview'; tools of this type are skipped",
    ),
    (
        RESPONSES,
        NAMESPACE,
        {"type": "function", "name": "agents"},
        "tool_choice.name",
        "'agents' is of type namespace",
    ),
    (
        RESPONSES,
        {"type": "mcp", "server_label": "s"},
        {"type": "mcp", "server_label": "s"},
        "tool_choice.type",
        "'mcp'; tools of this type are skipped",
    ),
    (
        RESPONSES,
        SEARCH,
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
        "tool_choice.tools",
        "skipped: web_search",
    ),
    (MESSAGES, BASH, {"type": "any"}, "tool_choice", "skipped: bash"),
    (
        MESSAGES,
        FETCH,
        {"type": "tool", "name": "fetch"},
        "tool_choice.name",
        "'fetch' is of type web_fetch_20991231",
    ),
]


@pytest.mark.parametrize("case", FORCED)
async def test_a_skipped_tool_cannot_be_forced(service, case):
    """That is a 400 that names it."""
    path, tool, choice, param, said = case
    response = await service.post(asked(path, tools=[tool], tool_choice=choice), path=path)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param), error
    assert said in error["message"]


async def test_a_call_is_required_of_what_is_left(service):
    """Where the model is offered something, it may be made to call that."""
    for choice in ("required", {"type": "function", "name": "add"}):
        tools = [SEARCH, function(RESPONSES)]
        service.write(reply='<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>')
        response = await service.post(
            asked(RESPONSES, tools=tools, tool_choice=choice), path=RESPONSES
        )
        assert response.json()["output"][0]["type"] == "function_call", response.text


async def test_a_skipped_tool_may_be_allowed(service):
    """Of the tools that are allowed it is left out."""
    choice = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "web_search"}, {"type": "function", "name": "add"}],
    }
    tools = [SEARCH, function(RESPONSES), function(RESPONSES, "mul")]
    response = await service.post(asked(RESPONSES, tools=tools, tool_choice=choice), path=RESPONSES)
    assert response.json()["tool_choice"] == choice
    assert '"name": "add"' in prompt(service)
    assert '"name": "mul"' not in prompt(service)


async def test_tools_that_an_item_adds(service):
    """They are offered or skipped as those of the request, and may be forced."""
    tools = [NAMESPACE, function(RESPONSES)]
    item = {"type": "additional_tools", "role": "developer", "tools": tools}
    given = [item, *HI]
    choice = {"type": "function", "name": "add"}
    service.write(reply='<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>')
    response = await service.post(asked(RESPONSES, input=given, tool_choice=choice), path=RESPONSES)
    assert response.json()["output"][0]["name"] == "add", response.text
    said = prompt(service)
    assert '"name": "add"' in said
    assert "agents" not in said

    tools.append({"type": "function", "name": "f", "strict": 1})
    response = await service.post(asked(RESPONSES, input=given), path=RESPONSES)
    assert response.json()["error"]["param"] == "input[0].tools[2].strict"

    odd = {"a": {"type": "string", "pattern": "^(?!x)a+$"}}
    tools[2] |= {"strict": True, "parameters": {"type": "object", "properties": odd}}
    response = await service.post(asked(RESPONSES, input=given), path=RESPONSES)
    path = "input[0].tools[2].parameters.properties.a.pattern"
    assert response.json()["error"]["param"] == path


@pytest.mark.parametrize(
    "item",
    [
        {"type": "additional_tools", "tools": []},
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": []},
    ],
)
async def test_items_that_say_nothing(service, item):
    """Alone they are no conversation."""
    for fields in ({}, {"instructions": "Be brief."}):
        response = await service.post(asked(RESPONSES, input=[item], **fields), path=RESPONSES)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "input")


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
async def test_a_type_that_nobody_knows(start, path):
    """It is refused by its place, and skipped where unknown fields are ignored."""
    unknown = {"type": "web_serach", "name": "x"}
    body = asked(path, tools=[function(path), unknown])
    strict, lenient = await start(), await start(unknown_fields="ignore")
    strict.write(reply="Hello.")

    response = await strict.post(body, path=path)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tools[1].type")
    assert (await lenient.post(body, path=path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "tool", "param"),
    [
        (CHAT, {"type": "function", "function": {}}, "tools[1].function.name"),
        (RESPONSES, {"type": "function", "name": "f", "strict": 1}, "tools[1].strict"),
        (RESPONSES, {"type": "function", "name": "f", "x": 1}, "tools[1].x"),
        (RESPONSES, {"type": 7}, "tools[1].type"),
        (RESPONSES, [], "tools[1]"),
        (MESSAGES, {"name": "f", "input_schema": 1}, "tools[1].input_schema"),
        (MESSAGES, {"type": "bash_20250124x", "name": "b"}, "tools[1].type"),
    ],
)
async def test_a_fault_in_a_tool_is_found(service, path, tool, param):
    """Its place counts the skipped tools before it."""
    response = await service.post(asked(path, tools=[SEARCH | {"name": "s"}, tool]), path=path)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


REFUSED = [
    (
        CHAT,
        {"skip_special_tokens": False},
        "skip_special_tokens",
        "omit control tokens",
    ),
    (CHAT, {"use_beam_search": True}, "use_beam_search", "beam search is not supported"),
    (
        COMPLETIONS,
        {"include_stop_str_in_output": True},
        "include_stop_str_in_output",
        "omit the stop",
    ),
    (CHAT, {"functions": []}, "functions", "use `tools`"),
    (CHAT, {"moderation": {"model": "m"}}, "moderation", "omit it"),
    (CHAT, {"messages": [{"role": "function", "name": "f", "content": ""}]}, None, "use `tool`"),
    (RESPONSES, {"previous_response_id": "resp_1"}, "previous_response_id", "whole conversation"),
    (RESPONSES, {"conversation": "conv_1"}, "conversation", "all of its items"),
    (RESPONSES, {"prompt": {"id": "p"}}, "prompt", "send its text"),
    (
        RESPONSES,
        {"input": [{"type": "item_reference", "id": "i"}]},
        "input[0].type",
        "store: false",
    ),
    (RESPONSES, {"input": [{"type": "compaction", "encrypted_content": "x"}]}, None, "vendor's"),
    (MESSAGES, {"thread": {"type": "continue", "previous_message_id": "m"}}, "thread", "stored"),
    (MESSAGES, {"container": "c"}, "container", "executed or stored"),
    (MESSAGES, {"compaction": {"type": "summarize"}}, "compaction", "in a message"),
    (
        MESSAGES,
        {"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]},
        "messages[0].content[0].type",
        "send the file's text",
    ),
]


@pytest.mark.parametrize("mode", ["reject", "ignore"])
@pytest.mark.parametrize("case", REFUSED)
async def test_what_changes_the_meaning_is_refused_by_name(start, mode, case):
    """Whatever becomes of unknown fields, and with what to do instead."""
    path, fields, param, said = case
    service = await start(unknown_fields=mode)
    service.write(reply="Hello.")
    response = await service.post(asked(path) | fields, path=path)
    error = response.json()["error"]
    assert response.status_code in (400, 404), error
    assert said in error["message"]
    assert param is None or error["param"] == param
    assert service.backend.engines == []


async def test_codes_that_sdks_act_upon(service):
    """OpenAI's for a response that is not stored, Anthropic's for a thread that is not."""
    response = await service.post(asked(RESPONSES, previous_response_id="r"), path=RESPONSES)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "previous_response_not_found"
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    response = await service.post(asked(MESSAGES, thread=thread), path=MESSAGES)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (404, "not_found_error")
    assert error["details"] == {"error_code": "thread_not_found"}
    assert "details" not in (await service.post(asked(MESSAGES, top_k=-1), path=MESSAGES)).json()


WITHOUT_EFFECT = [
    (CHAT, {"prediction": {"type": "content", "content": "x"}, "web_search_options": {}}),
    (CHAT, {"metadata": {"k": "v"}, "service_tier": "flex", "verbosity": "low", "store": True}),
    (CHAT, {"usage": {"include": True}, "provider": {"order": ["a"]}, "transforms": []}),
    (CHAT, {"cache_prompt": False, "id_slot": -1, "timings_per_token": True, "n_keep": 0}),
    (CHAT, {"skip_special_tokens": True, "use_beam_search": False, "length_penalty": 1.0}),
    (CHAT, {"keep_alive": "5m", "priority": 0, "request_id": "r", "return_progress": True}),
    (COMPLETIONS, {"cache_prompt": True, "include_stop_str_in_output": False, "keep_alive": -1}),
    (CHAT, {"unheard_of": None, "stream_options": {"unheard_of": None}}),
    (MESSAGES, {"unheard_of": None, "output_config": {"unheard_of": None}}),
    (RESPONSES, {"client_metadata": {"session_id": "x"}, "truncation": "auto"}),
    (RESPONSES, {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}),
    (RESPONSES, {"reasoning": {"mode": "pro", "summary": "auto"}}),
    (MESSAGES, {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    (MESSAGES, {"thread": {"type": "create"}, "speed": "fast", "metadata": {"user_id": "u"}}),
    (MESSAGES, {"mcp_servers": [{"type": "url", "name": "s", "url": "http://127.0.0.1:9"}]}),
    (MESSAGES, {"output_config": {"task_budget": {"type": "tokens", "total": 9}}}),
    (MESSAGES, {"cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}}),
]


@pytest.mark.parametrize(("path", "fields"), WITHOUT_EFFECT)
async def test_what_asks_for_what_is_not_here_has_no_effect(service, path, fields):
    """The model reads what it would read without."""
    for body in (asked(path), asked(path, **fields)):
        response = await service.post(body, path=path)
        assert response.status_code == 200, response.text
    plain, other = service.engine.requests
    assert plain == other

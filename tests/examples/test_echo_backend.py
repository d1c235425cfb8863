"""The example backend: its tutorial holds, and a server that has nothing else serves with it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import msgspec
import pytest
from packaging.requirements import Requirement

from tests.conftest import CHAT, chat, events
from tests.end_to_end.test_process import environment, served

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/echo-backend"
README = (EXAMPLE / "README.md").read_text("utf-8")
FILES = {
    path.relative_to(EXAMPLE).as_posix(): path.read_text("utf-8")
    for path in (EXAMPLE / "pyproject.toml", *EXAMPLE.rglob("*.py"))
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "sky": {"enum": ["sunny", "rainy"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "days", "sky", "tags"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}


def blocks(*languages):
    """Return the code in the tutorial's blocks of *languages*."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


# The tutorial


@pytest.mark.parametrize("code", blocks("python", "toml"), ids=lambda code: code.split("\n")[0])
def test_the_tutorials_code_is_the_packages(code):
    assert [name for name, text in FILES.items() if code in text], code


def test_every_module_is_in_the_tutorial():
    modules = {Path(name).name for name in FILES if name.startswith("pilotlight_echo/")}
    assert {name for name in modules if f"`{name}`" not in README} == {"__init__.py"}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="the tutorial asks with curl")
def test_the_tutorials_commands_work(tmp_path):
    """From listing the model to a structured answer, in one shell, as they stand."""
    commands = [one for one in blocks("sh") if "pip install" not in one and "pytest" not in one]
    assert len(commands) == 3
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shell = subprocess.Popen(
        ["/bin/bash", "-e", "-c", "\n".join(commands).replace("8080", port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=environment(HOME=str(tmp_path), PATH=_path()),
    )
    try:
        output, _ = shell.communicate(timeout=60)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    assert shell.returncode == 0, output
    assert re.search(r"^parrot +discovered +echo +echo +4096 ", output, re.MULTILINE)
    contents = [json.loads(one) for one in re.findall(r'"content":("(?:[^"\\]|\\.)*")', output)]
    assert contents[0] == "Hello!"
    assert json.loads(contents[1]) == {"city": "Paris"}


def _path():
    return os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))


# The distribution


def test_it_is_found_by_its_entry_point_alone():
    (found,) = entry_points(group="pilotlight", name="echo")
    assert found.value == "pilotlight_echo.plugin"


def test_it_takes_the_contract_of_this_version():
    """A release whose contract it does not take has another tutorial to write."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    contract = tomllib.loads((ROOT / "backends/contract/pyproject.toml").read_text())["project"]
    needs = {one.name: one for one in map(Requirement, project["dependencies"])}
    assert needs["pilotlight-backend"].specifier.contains(contract["version"])


# Served, and nothing else


@pytest.fixture(scope="module", params=["none", pytest.param("process", marks=pytest.mark.slow)])
def parrot(request, tmp_path_factory):
    """Serve a model of the echo backend alone, in the server's process and in one of its own."""
    folder = tmp_path_factory.mktemp("parrot")
    (folder / "parrot.echo").write_text('{"format": "echo-1", "name": "Parrot"}')
    flags = {
        "--backends": "echo",
        "--models-dir": folder,
        "--models-file": folder / "none.yaml",
        "--isolation": request.param,
    }
    with served(*(str(one) for pair in flags.items() for one in pair)) as server:
        yield server.url


def ask(url, text, **fields):
    body = chat("parrot", text, temperature=0, **fields)
    answer = httpx.post(url + CHAT, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("text", ["Hello!", "Zażółć 🦙", 'a "quote"\nand a <|user|> of mine'])
def test_it_repeats_the_user(parrot, text):
    (choice,) = ask(parrot, text).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


def test_it_repeats_the_user_streamed(parrot):
    *chunks, done = events(ask(parrot, "one two three", stream=True).text)
    assert done == "[DONE]"
    deltas = [one["delta"] for chunk in chunks for one in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "one two three"
    assert len(deltas) > 3


@pytest.mark.parametrize("text", ["Paris", "", "42 {}", 'say "hi"\nthere'])
@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_is_valid(parrot, text, stream):
    answer = ask(parrot, text, stream=stream, response_format=FORMAT, max_tokens=400)
    if stream:
        chunks = events(answer.text)[:-1]
        deltas = [one["delta"] for chunk in chunks for one in chunk["choices"]]
        content = "".join(delta.get("content") or "" for delta in deltas)
    else:
        content = answer.json()["choices"][0]["message"]["content"]
    value = msgspec.json.decode(content)
    assert value.keys() == set(SCHEMA["required"])
    assert isinstance(value["city"], str)
    assert isinstance(value["days"], int)
    assert value["sky"] in ("sunny", "rainy")
    if text == "Paris":
        assert value["city"] == "Paris"


def test_a_conversation_is_continued_from_its_cache(parrot):
    """The second turn evaluates the new tokens only, and the usage shows it."""
    turns = [{"role": "user", "content": "a long beginning " * 20}]
    first = httpx.post(parrot + CHAT, json={"model": "parrot", "messages": turns}).json()
    turns += [first["choices"][0]["message"], {"role": "user", "content": "more"}]
    second = httpx.post(parrot + CHAT, json={"model": "parrot", "messages": turns}).json()
    assert second["choices"][0]["message"]["content"] == "more"
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] - 1


def test_log_probabilities_and_stops(parrot):
    answer = ask(parrot, "one two three", stop=[" three"], logprobs=True, top_logprobs=2).json()
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == "one two"
    first = choice["logprobs"]["content"][0]
    assert first["bytes"] == first["top_logprobs"][0]["bytes"] == [ord("o")]
    assert -0.01 < first["logprob"] <= 0


def test_a_damaged_model_is_listed_as_invalid(tmp_path):
    """The reason is the decoder's own, and names the field."""
    (tmp_path / "bad.echo").write_text('{"format": "echo-1", "name": "Bad", "confidence": -1}')
    listed = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "pilotlight", "models", "--models-dir", tmp_path],
        check=True,
        capture_output=True,
        text=True,
        env=environment(HOME=str(tmp_path)),
    ).stdout
    assert re.search(r"bad .*invalid: bad\.echo: confidence: expected a number .* 0 ", listed)

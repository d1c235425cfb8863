"""`pilotlight bake`: from a text file to a file that requests begin with."""

import os

import httpx
import pytest

from pilotlight.cli import main
from pilotlight.config import Settings
from pilotlight.generation.baking import CannotBake, bake, read_prompt
from pilotlight.model_options import load_options
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.registry import Registry
from pilotlight.server.app import create_app
from pilotlight_backend import LoadOptions
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.conftest import CHAT, chat, running

SYSTEM = "You are a lamp."
SPARK = LlamaCppBackend().embedded()
OPTIONS = LoadOptions()
SERVED = f"<|im_start|>system\n{SYSTEM}"
"""One token for the special one and each byte."""


@pytest.fixture
def write(tmp_path):
    def write(options=None, **keys):
        path = FakeModel(**keys).write(tmp_path / "m.fake")
        return ModelEntry("m", path, "configured", ModelOptions(path=str(path), **options or {}))

    return write


def test_prompt_is_baked_beside_the_model(write):
    """The engine is closed in the end, and the figures are those of the file."""
    entry, backend = write(), FakeBackend()
    ticks = iter((1.0, 3.5))
    done = bake(entry, Registry({"fake": backend}), OPTIONS, SYSTEM, clock=lambda: next(ticks))
    assert done.path == entry.path.with_name("m.fake.baked")
    assert done.size_bytes == done.path.stat().st_size
    assert (done.tokens, done.seconds) == (len(SERVED) - len("<|im_start|>") + 1, 2.5)
    assert backend.engines == []


def test_output_is_written_elsewhere(write, tmp_path):
    """A model's folder may be read-only."""
    done = bake(
        write(), Registry({"fake": FakeBackend()}), OPTIONS, SYSTEM, output=tmp_path / "other"
    )
    assert done.path == tmp_path / "other"
    assert done.path.is_file()


@pytest.mark.parametrize(
    ("options", "keys", "bakes", "reason"),
    [
        ({}, {"chat_template": None}, True, "m: a model without a chat template"),
        (
            {},
            {"embedding_length": 4},
            True,
            "m: only a model that generates text has a system prompt",
        ),
        (
            {},
            {"relevance": "logit"},
            True,
            "m: only a model that generates text has a system prompt",
        ),
        ({}, {"unserved": "it draws"}, True, "m.fake: it draws"),
        ({"chat_template": "gone"}, {}, True, "m: cannot read its chat template"),
        ({}, {"chat_template": "{{ messages[1].content }}"}, True, "does not begin every request"),
        ({}, {"chat_template": "{% if %}"}, True, "the chat template does not compile"),
        ({}, {"load_error": "memory"}, True, "bytes of memory"),
        ({}, {"context_length": 20}, True, "the context holds 20"),
        ({}, {}, False, "m: the backend fake does not support baking"),
        ({"backend": "none"}, {}, True, "its backend 'none' is not installed"),
    ],
)
def test_what_cannot_be_baked_is_one_reason(write, options, keys, bakes, reason):
    """Nothing is written, and no engine stays open."""
    backend = FakeBackend(bakes=bakes)
    entry = write(options, **keys)
    with pytest.raises(CannotBake, match=reason) as caught:
        bake(entry, Registry({"fake": backend}), OPTIONS, SYSTEM)
    assert "\n" not in str(caught.value)
    assert list(entry.path.parent.iterdir()) == [entry.path]
    assert backend.engines == []


def test_output_that_cannot_be_written(write, tmp_path):
    """A missing folder is an error before the model is loaded."""
    backend = FakeBackend()
    registry = Registry({"fake": backend})
    with pytest.raises(CannotBake, match="the folder does not exist"):
        bake(write(), registry, OPTIONS, SYSTEM, output=tmp_path / "none" / "m.baked")
    assert backend.loads == []
    with pytest.raises(CannotBake, match="cannot write the file: Is a directory"):
        bake(write(), registry, OPTIONS, SYSTEM, output=tmp_path)
    assert backend.engines == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "cannot read the prompt")],
)
def test_prompt_file_that_says_nothing(tmp_path, content, reason):
    """A file that is missing, empty or no text is named."""
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CannotBake, match=rf"prompt\.txt: .*{reason}"):
        read_prompt(path)


async def test_first_request_begins_with_it(start):
    """The usage says how much was there before anybody asked; with tools behind it, too."""
    service = await start()
    path = service.write(reply="Yes.")
    entry = ModelEntry("m", path, "discovered", ModelOptions(path=str(path)))
    done = bake(entry, Registry({"fake": service.backend}), LoadOptions(), SYSTEM)
    for content in (SYSTEM, SYSTEM + "\n"):
        messages = [{"role": "system", "content": content}, {"role": "user", "content": "Is it?"}]
        answer = await service.ask(**chat() | {"messages": messages})
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= done.tokens
    other = await service.ask(text="hi")
    assert other["choices"][0]["message"]["content"] == "Yes."


@pytest.mark.slow
async def test_greedy_completion_of_a_real_model_is_the_same(tmp_path):
    """With the file and without, token for token; the usage differs."""
    path = tmp_path / "lamp.gguf"
    path.write_bytes(SPARK.read_bytes())
    settings = Settings(
        backends=("llama_cpp",), models_dir=tmp_path, models_file=tmp_path / "none.yaml"
    )
    messages = [
        {"role": "system", "content": "You are helpful and brief. " * 20},
        {"role": "user", "content": "What is 17 + 25?"},
    ]
    heard = []
    for baked in (False, True):
        app = create_app(settings)
        service = app.state.service
        if baked:
            entry = await service.resolver.resolve("lamp")
            options = load_options(settings, entry)
            done = bake(entry, service.registry, options, messages[0]["content"])
        transport = httpx.ASGITransport(app)
        async with running(app), httpx.AsyncClient(transport=transport, base_url="http://x") as to:
            body = {"model": "lamp", "messages": messages, "temperature": 0, "max_tokens": 40}
            heard.append((await to.post(CHAT, json=body, timeout=60)).json())
    without, with_baked = heard
    assert with_baked["choices"] == without["choices"]
    cached = [one["usage"]["prompt_tokens_details"]["cached_tokens"] for one in heard]
    assert cached == [0, done.tokens]
    assert done.tokens > 100


# ── the command, with the embedded model ────────────────────────────────────────────────────────


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command, and returns its output; the exit is raised."""
    for name in list(os.environ):
        if name.startswith("PILOTLIGHT_"):
            monkeypatch.delenv(name)
    flags = ["--models-dir", str(tmp_path), "--models-file", str(tmp_path / "none.yaml")]
    monkeypatch.setattr("pilotlight.observability.logs.configure_logging", lambda _settings: None)

    def run(*arguments):
        main([*map(str, arguments), *flags])
        return capsys.readouterr().out

    return run


def test_command_prints_what_it_did(run, tmp_path):
    """Tokens, size, seconds and the path."""
    prompt, output = tmp_path / "prompt.txt", tmp_path / "spark.baked"
    prompt.write_text(SYSTEM * 5)
    line = run("bake", "spark:llama_cpp", "--prompt", prompt, "--output", output)
    assert line.startswith(f"{output}: ")
    assert " tokens, " in line
    assert output.is_file()


@pytest.mark.parametrize(
    ("model", "text", "reason"),
    [
        (
            "nobody",
            SYSTEM,
            "MODEL: there is no model 'nobody'; `pilotlight models` lists the models",
        ),
        ("sparkk", SYSTEM, "'sparkk'; did you mean spark.*\\? `pilotlight models` lists"),
        ("spark:llama_cpp", "", "the prompt is empty"),
        ("spark:llama_cpp", SYSTEM * 500, "the context holds 1024"),
        ("spark:onnx", SYSTEM, "the backend onnx does not support baking"),
    ],
)
def test_command_ends_with_one_line(run, tmp_path, model, text, reason):
    """Bad input is no traceback: the reason, and a status of 1."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(text)
    with pytest.raises(SystemExit, match=reason) as caught:
        run("bake", model, "--prompt", prompt, "--output", tmp_path / "out")
    assert str(caught.value.code).count("\n") == 0
    assert not (tmp_path / "out").exists()

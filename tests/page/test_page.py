"""The chat page in Chromium, over servers with made-up models."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import Secret, Settings
from pilotlight.server.app import create_app
from tests.clients.servers import FakeServer
from tests.conftest import live
from tests.page.browser import Browser
from tests.pictures import PNG, QUESTION

pytestmark = pytest.mark.slow

Serve = Callable[..., FakeServer]

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


def ask(browser: Browser, text: str) -> None:
    """Send a message."""
    browser.fill("Message", text)
    browser.press("Enter")


def settled(browser: Browser) -> None:
    """Wait until the last answer has ended."""
    browser.find("#send")
    browser.find(".turn.assistant:last-child .foot .actions")


def visited(browser: Browser, server: FakeServer, **window: Any) -> FakeServer:
    """Open the page of *server*, and wait until it knows the models."""
    browser.open(f"{server.url}/", **window)
    browser.find("#model-state:not(:empty)")
    return server


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


def test_a_cold_start_is_seen(browser: Browser, serve_models: Serve):
    """The phase and the progress of the load, then the answer and its timing."""
    model = {"reply": "<think>Easy.</think>It is **4**.", "prompt_token_seconds": 0.001}
    server = visited(browser, serve_models(m=model))
    assert browser.text("#model-state") == "not loaded"
    server.backend.load_gate.hold()

    ask(browser, "What is 2+2?")
    browser.see("Loading m: 0 %")
    assert browser.text(".steps .now") == "Read"
    assert browser.text("#model-state") == "loading"
    server.backend.load_gate.release(2)
    browser.see("Loading m: ")
    server.backend.load_gate.release()
    settled(browser)

    assert browser.count(".load-card") == 0
    assert browser.text(".turn.assistant strong") == "4"
    assert browser.text("#model-state") == "ready"
    assert browser.text(".reasoning summary") == "Reasoning"
    assert "to first token" in browser.text(".figures summary")
    browser.evaluate("document.querySelector('.figures').open = true")
    phases = browser.text(".timing dl")
    assert "read files" in phases
    assert "read the prompt" in phases
    assert browser.text(".request-id code").startswith("req_")


def test_an_answer_is_stopped_and_continued(browser: Browser, serve_models: Serve):
    """What was written stays, and the model goes on behind it."""
    script = ({"when": "One, $", "reply": "two, three."},)
    server = visited(browser, serve_models(m={"reply": "One, and no more", "script": script}))
    server.backend.token_gate.hold()
    server.backend.token_gate.release(len("One, "))

    ask(browser, "Count")
    browser.see("One,")
    browser.click("button", "Stop")
    browser.see("Stopped")
    server.backend.token_gate.release()
    browser.click("button", "Continue")
    settled(browser)

    assert browser.text(".turn.assistant .prose:not(details *)") == "One, two, three."
    assert browser.sent()["messages"][-1] == {"role": "assistant", "content": "One, "}
    assert browser.count(".turn") == 2
    assert browser.evaluate("document.body.innerText.includes('Continue')") is False


def test_an_answer_is_regenerated_and_a_question_edited(browser: Browser, serve_models: Serve):
    """Turns behind an edited one are gone."""
    script = ({"when": "second", "reply": "To the second."},)
    visited(browser, serve_models(m={"reply": "To the first.", "script": script}))
    ask(browser, "the first")
    settled(browser)

    browser.click("button", "Regenerate")
    settled(browser)
    assert browser.count(".turn") == 2
    browser.click("button", "Edit this message")
    browser.fill("Edit the message", "the second")
    browser.click("button", "Save")
    browser.see("To the second.")
    settled(browser)

    assert browser.count(".turn") == 2
    assert [one["content"] for one in browser.sent()["messages"]] == ["the second"]


def test_only_models_that_write_can_be_chosen(browser: Browser, serve_models: Serve):
    """A model that embeds is listed, and cannot be chosen."""
    visited(browser, serve_models(a={"embedding_length": 4}, m={"reply": "Yes."}))
    options = "[...document.querySelectorAll('#model option')]"
    assert browser.evaluate(f"{options}.map(one => [one.text, one.disabled])") == [
        ["a (writes no text)", True],
        ["m", False],
    ]
    assert browser.evaluate("document.querySelector('#model').value") == "m"


def test_without_a_chat_endpoint_the_server_is_seen(browser: Browser, serve_models: Serve):
    """With `--no-chat-completions` there is nothing to write to."""
    visited(browser, serve_models({"chat_completions": False}, m={}))
    browser.see("The chat endpoint of this server is turned off.")
    assert browser.count("#composer:visible") == 0
    browser.click("link", "Server")
    browser.see("not loaded")


def test_an_error_is_shown_and_tried_again(browser: Browser, serve_models: Serve):
    """The reason is the server's own; it is no message of the next request."""
    server = serve_models(
        m={"reply": "Yes.", "load_error": "transient", "load_errors_before_success": 1}
    )
    visited(browser, server)

    ask(browser, "Are you there?")
    browser.find(".turn .fault:not(:empty)")
    assert "m" in browser.text(".turn .fault")
    assert browser.count("button[aria-label='Try again']") == 1
    # The browser itself logs each response with an error status.
    assert all("Failed to load resource" in one for one in browser.problems())


def test_markup_of_a_model_is_harmless(browser: Browser, serve_models: Serve):
    """No script, no style, no image elsewhere, no control of the page's own look."""
    reply = (
        '<img src="x" onerror="alert(1)"><script>alert(2)</script>'
        '<style>body{display:none}</style><p style="color:red" class="fault">text</p>\n\n'
        "![picture](https://elsewhere.example/?said=secret) [link](javascript:alert(3))\n\n"
        '<form action="https://elsewhere.example/"><input type="password"><button>Go</button>'
        "</form>\n\n"
        "The end."
    )
    visited(browser, serve_models(m={"reply": reply}))
    ask(browser, "hi")
    browser.see("The end.")
    settled(browser)

    answer = ".turn.assistant .prose"
    for dangerous in ("script", "style", "img", "form", "input", "button", "[style]", "[onerror]"):
        assert browser.count(f"{answer} {dangerous}") == 0, dangerous
    assert browser.count(f"{answer} .fault") == 0
    assert browser.count(f"{answer} a[href^=javascript]") == 0
    assert browser.attribute(f"{answer} a[href^=https]", "rel") == "noopener noreferrer"


def test_an_answer_that_is_nested_too_deeply_for_markdown(browser: Browser, serve_models: Serve):
    """It is shown as it is written, and the page starts with it after a reload."""
    visited(browser, serve_models(m={"reply": ("- - " * 4000, "The end.")}))
    ask(browser, "hi")
    browser.see("The end.")
    settled(browser)
    assert browser.text(".turn.assistant .prose p").startswith("- - - -")

    browser.reload()
    browser.see("The end.")
    browser.find("#model-state:not(:empty)")
    assert not browser.problems()


# ── tools, schemas, images, code ────────────────────────────────────────────────────────────────


def test_a_tool_is_called(browser: Browser, serve_models: Serve):
    """The call and its arguments are shown, the result is typed in, and the answer follows."""
    script = ({"when": "18 degrees", "reply": "It is warm."}, {"when": "weather", "reply": CALL})
    visited(browser, serve_models(m={"script": script}))
    browser.click("button", "Options")
    browser.click("button", "Insert an example")
    browser.press("Escape")

    ask(browser, "How is the weather in Paris?")
    browser.see("Calls get_weather")
    assert json.loads(browser.text(".call pre")) == {"city": "Paris"}
    browser.fill("Result of get_weather", "18 degrees")
    browser.click("button", "Send result")
    browser.see("It is warm.")
    settled(browser)

    *_, call, result = browser.sent()["messages"]
    assert call["tool_calls"][0]["function"]["name"] == "get_weather"
    assert result["content"] == "18 degrees"
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]


def test_an_answer_matches_a_schema(browser: Browser, serve_models: Serve):
    """Fields become a JSON Schema that the server enforces."""
    server = visited(browser, serve_models(m={"reply": '{"city":"Rome"}'}))
    browser.click("button", "Options")
    browser.click("button", "Add a field")
    browser.fill("Name of field 1", "city")
    browser.press("Escape")
    assert browser.text("#options-count") == "1"

    ask(browser, "The capital of Italy, as JSON")
    settled(browser)

    assert json.loads(browser.text(".turn.assistant .prose:not(details *)")) == {"city": "Rome"}
    (engine,) = server.backend.engines
    assert engine.requests[-1].guide is not None
    browser.click("button", "Options 1")
    browser.fill("JSON Schema", "{")
    browser.see("Not valid JSON")
    browser.press("Escape")
    ask(browser, "And of France?")
    browser.see("The tools or the schema in the options are not valid JSON.")


def test_images_are_for_models_that_see(browser: Browser, serve_models: Serve):
    """An image is scaled down, shown in the turn, sent as a part, and seen by the model."""
    visited(browser, serve_models(m={}))
    assert browser.count("#image-controls:visible") == 0

    visited(browser, serve_models(m={"image_tokens": 4}))
    browser.find("#image-controls:visible")
    browser.drop()
    browser.find("#attached img")
    browser.see("broken.png cannot be read as an image.")
    ask(browser, "What is this?")
    browser.find(".turn.user img")
    browser.see("[image 1568 x 1568]")
    settled(browser)

    image, text = browser.sent()["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert browser.evaluate("document.querySelector('.turn.user img').naturalWidth") == 1568
    exported = json.loads(browser.download("button", "Export conversations"))
    (kept,) = exported["conversations"][0]["messages"][0]["images"]
    assert kept == image["image_url"]["url"]
    browser.reload()
    browser.find(".turn.user img")


def test_spark_names_what_a_picture_shows(browser: Browser, tmp_path: Path):
    """The embedded model, end to end: a file is chosen, shown in the turn, and seen."""
    settings = Settings(
        backends=("llama_cpp",), models_dir=tmp_path / "none", models_file=tmp_path / "none.yaml"
    )
    picture = tmp_path / "circle.png"
    picture.write_bytes(base64.b64decode(PNG))
    with live(create_app(settings)) as server:
        browser.open(f"{server.url}/")
        browser.find("#image-controls:visible")
        browser.click("button", "Options")
        browser.fill("Temperature", "0")
        browser.press("Escape")
        browser.choose("#image-file", str(picture))
        browser.find("#attached img")
        ask(browser, QUESTION)
        browser.find(".turn.user img")
        settled(browser)
        assert "red" in browser.text(".turn.assistant .prose:not(details *)").lower()
        browser.leave()


def test_the_code_of_a_request_works(browser: Browser, serve_models: Serve):
    """The command gets the answer that the page got."""
    visited(browser, serve_models(m={"reply": "Said by curl."}))
    ask(browser, "It's 'quoted' & \"odd\": $HOME `x` \\")
    settled(browser)
    browser.click("button", "Code")
    command = browser.text("#snippet pre")

    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)  # noqa: S607 - whichever is on the path
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "Said by curl."
    browser.click("button", "Python")
    assert "from openai import OpenAI" in browser.text("#snippet pre")
    compile(browser.text("#snippet pre"), "snippet", "exec")


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_refused_and_another_accepted(browser: Browser, serve_models: Serve):
    """It is asked for once, kept in the tab alone, and in no snippet."""
    server = serve_models({"api_keys": Secret("ann:s3cret")}, m={"reply": "Welcome."})
    browser.open(f"{server.url}/")
    browser.fill("API key", "wrong")
    browser.press("Enter")
    browser.find("#key-fault:not(:empty)")
    browser.fill("API key", "s3cret")
    browser.press("Enter")
    browser.find("#model-state:not(:empty)")

    ask(browser, "hi")
    browser.see("Welcome.")
    settled(browser)

    assert browser.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
    browser.click("button", "Code")
    assert "$PILOTLIGHT_KEY" in browser.text("#snippet pre")
    assert "s3cret" not in browser.evaluate("document.documentElement.outerHTML")
    browser.reload()
    browser.find("#model-state:not(:empty)")
    assert browser.count("#key-dialog[open]") == 0
    assert all("401" in one for one in browser.problems())


# ── conversations ───────────────────────────────────────────────────────────────────────────────


def test_conversations_outlive_a_reload_and_are_exported_offline(
    browser: Browser, serve_models: Serve, tmp_path: Path
):
    """Everything is in the browser: export needs no server, and import brings it back."""
    visited(browser, serve_models(m={"reply": "Kept."}))
    ask(browser, "Remember me")
    settled(browser)
    browser.reload()
    browser.see("Kept.")
    assert browser.text(".conversation") == "Remember me"

    browser.offline()
    exported = browser.download("button", "Export conversations")
    browser.online()
    (conversation,) = json.loads(exported)["conversations"]
    assert [one["content"] for one in conversation["messages"]] == ["Remember me", "Kept."]
    browser.click("button", "Delete Remember me")
    browser.gone(".conversation")
    file = tmp_path / "exported.json"
    file.write_text(exported)
    browser.upload("#import-file", str(file))
    browser.see("Kept.")
    assert browser.text(".conversation") == "Remember me"


# ── every screen, every hand ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("width", "dark"), [(320, True), (1280, False)], ids=["phone-dark", "desk-light"]
)
def test_axe_finds_nothing_serious(browser: Browser, serve_models: Serve, width: int, dark: bool):  # noqa: FBT001 - a parameter of the test
    """On every view; and nothing is wider than the screen."""
    reply = f"<think>Hm.</think># Title\n\n`code` and\n\n```python\nprint('{'x' * 300}')\n```\n"
    table = "\n| a | b |\n| --- | --- |\n| " + "long " * 60 + "| 2 |\n"
    visited(browser, serve_models(m={"reply": reply + table}), width=width, height=700, dark=dark)
    narrow = width < 500

    def check() -> None:
        assert browser.axe() == []
        for box in ("html", "#scroller", "#server-view", "dialog[open]"):
            wider = f"(e => e ? e.scrollWidth - e.clientWidth : 0)(document.querySelector('{box}'))"
            assert browser.evaluate(wider) <= 0, box

    check()
    ask(browser, "x" * 200)
    settled(browser)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    check()
    browser.click("button", "Options")
    browser.click("button", "Add a field")
    check()
    browser.press("Escape")
    browser.click("button", "Code")
    check()
    browser.press("Escape")
    if narrow:
        browser.click("button", "Conversations")
        check()
    browser.click("link", "Server")
    browser.find(".card")
    check()
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 21, 15)" if dark else "rgb(255, 255, 255)")


def test_everything_is_reached_by_keyboard(browser: Browser, serve_models: Serve):
    """A question, the options and the actions of an answer, without a pointer."""
    visited(browser, serve_models(m={"reply": "Typed."}))
    browser.type("hello")
    browser.press("Enter")
    browser.see("Typed.")
    settled(browser)
    assert browser.focused() == "message"

    def tab_to(name: str, key: str = "Tab") -> None:
        for _ in range(30):
            browser.press(key)
            if browser.focused() == name:
                return
        raise AssertionError(name)

    tab_to("open-options", "Shift+Tab")
    browser.press("Enter")
    browser.find("#options-dialog[open]")
    browser.press("Escape")
    assert browser.focused() == "open-options"
    tab_to("Copy this answer")
    browser.press("Enter")
    assert browser.evaluate("navigator.clipboard.readText()") == "Typed."
    tab_to("Regenerate", "Shift+Tab")
    browser.press("Enter")
    settled(browser)
    assert browser.count(".turn") == 2


# ── the server view ─────────────────────────────────────────────────────────────────────────────


def test_the_server_is_seen_and_left_alone(browser: Browser, serve_models: Serve):
    """Slots, caches and requests; and no request from a hidden tab, or after an idle minute."""
    visited(browser, serve_models(m={"reply": "Counted, and never shown there."}))
    ask(browser, "hi")
    settled(browser)
    browser.clock()
    browser.click("link", "Server")
    browser.find(".card")
    assert "0 of 4" in browser.text(".card")
    assert "m · stop" in browser.text(".requests summary")
    assert "Counted" not in browser.text("#server-view")

    def polls(seconds: int) -> int:
        """Let time pass, and return how many requests were sent meanwhile."""
        before = browser.requests()
        for _ in range(seconds):
            browser.forward(1000)
        return browser.requests() - before

    def polls_again() -> bool:
        return any(polls(1) for _ in range(30))

    assert polls_again()
    browser.hide()
    browser.settle()
    polls(3)
    assert polls(10) == 0
    browser.show()
    assert polls_again()
    polls(65)
    browser.see("Paused")
    browser.settle()
    assert polls(60) == 0
    browser.press("Shift")
    assert polls_again()

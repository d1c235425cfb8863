"""Write the screenshots of the chat page into docs/images (`make screenshots`).

The chats are with the embedded model. It loads in less time than a picture takes, so the cold start
is that of a made-up model, held while half of its files are read.
"""

import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from tests.clients.servers import serving
from tests.conftest import live
from tests.page.browser import Browser, unavailable
from tests.pictures import drawn
from tools.spark.pictures import Scene

IMAGES = Path(__file__).parents[2] / "docs/images"
DESK = {"width": 1000, "height": 680}
WINDOW = {"width": 760, "height": 560}
STARS = Scene("green", "purple", "star", 3)
PHONE = {"width": 390, "height": 760, "dark": True, "scale": 1.5, "touch": True}


def opened(browser: Browser, url: str, window: dict[str, Any]) -> None:
    """Open the page, and wait until it knows the models."""
    browser.open(f"{url}/", **window)
    browser.find("#model-state:not(:empty)")


def ask(browser: Browser, text: str) -> None:
    """Send a message, and wait until its answer has ended."""
    browser.fill("Message", text)
    browser.click("button", "Send")
    browser.find(".turn.assistant:last-child .foot .actions")


def cold_start(browser: Browser, folder: Path) -> None:
    """Hold a load that reads a file of 4.7 GB."""
    model = {"size_bytes": 4_700_000_000, "load_steps": 100, "load_seconds": 4.0}
    with serving(folder, {"llama-3.1-8b": model}, backends=("fake",)) as server:
        server.backend.load_gate.hold()
        server.backend.load_gate.release(61)
        opened(browser, server.url, DESK)
        browser.fill("Message", "Which files does a cold start read?")
        browser.press("Enter")
        browser.find(".steps .now")
        server.backend.load_gate.wait_reached()
        browser.see("s left")
        browser.screenshot(str(IMAGES / "page-cold-start.png"))
        server.backend.load_gate.release()
        browser.leave()


def chats(browser: Browser, folder: Path) -> None:
    """Talk to the embedded model, at a desk and on a phone."""
    settings = Settings(
        backends=("onnx",), models_dir=folder / "none", models_file=folder / "none.yaml"
    )
    with live(create_app(settings)) as server:
        opened(browser, server.url, DESK)
        ask(browser, "Write a haiku about fire.")
        ask(browser, "What is 2+2?")
        for folded in (".turn:nth-child(2) .figures", ".turn:last-child .reasoning"):
            browser.evaluate(f"document.querySelector('{folded}').open = true")
        browser.evaluate("document.querySelector('#scroller').scrollTop = 1e6")
        browser.screenshot(str(IMAGES / "page-chat.png"))
        opened(browser, server.url, PHONE)
        browser.click("button", "Options")
        browser.click("button", "Insert an example")
        browser.press("Escape")
        ask(browser, "How is the weather in Paris?")
        browser.fill("Result of get_weather", '{"sky": "clear", "celsius": 21}')
        browser.click("button", "Send result")
        browser.find(".turn.assistant:last-child .foot .actions")
        browser.screenshot(str(IMAGES / "page-phone.png"))
        browser.leave()


def picture(browser: Browser, folder: Path) -> None:
    """Ask the embedded model what a picture shows."""
    settings = Settings(
        backends=("llama_cpp",), models_dir=folder / "none", models_file=folder / "none.yaml"
    )
    shown = folder / "stars.png"
    shown.write_bytes(base64.b64decode(drawn(STARS, 3)))
    with live(create_app(settings)) as server:
        opened(browser, server.url, WINDOW)
        browser.click("button", "Options")
        browser.fill("Temperature", "0")
        browser.press("Escape")
        browser.choose("#image-file", str(shown))
        browser.find("#attached img")
        ask(browser, "Describe the picture.")
        ask(browser, "What colour is the background?")
        browser.screenshot(str(IMAGES / "page-picture.png"))
        browser.leave()


def main() -> None:
    """Write all of them."""
    if reason := unavailable():
        sys.exit(reason)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as models, tempfile.TemporaryDirectory() as driver:
        browser = Browser(Path(driver))
        try:
            cold_start(browser, Path(models))
            chats(browser, Path(models))
            picture(browser, Path(models))
        finally:
            browser.close()


if __name__ == "__main__":
    main()

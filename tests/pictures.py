"""Pictures that spark is asked about, as files and as the parts of each API."""
# ruff: noqa: S311 - chosen for being repeatable

import base64
import io
from random import Random
from typing import Any

from PIL import Image

from tools.spark.pictures import Scene, draw_scene


def png_of(picture: Image.Image) -> str:
    """Return *picture* as a PNG in base64."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def drawn(scene: Scene, seed: int = 1) -> str:
    """Return a picture of *scene* as a PNG in base64."""
    return png_of(draw_scene(Random(seed), scene))


CIRCLE = Scene("red", "white", "circle")
PNG = drawn(CIRCLE)
QUESTION = "What colour is the circle?"
"""About `CIRCLE`; the answer names red."""


def of_chat(question: str, png: str = PNG) -> list[dict[str, Any]]:
    """Return the content of a message of chat completions."""
    return [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
        {"type": "text", "text": question},
    ]


def of_response(question: str, png: str = PNG) -> list[dict[str, Any]]:
    """Return the content of a message of the responses API."""
    return [
        {"type": "input_image", "image_url": f"data:image/png;base64,{png}", "detail": "auto"},
        {"type": "input_text", "text": question},
    ]


def of_messages(question: str, png: str = PNG) -> list[dict[str, Any]]:
    """Return the content of a turn of the messages API."""
    source = {"type": "base64", "media_type": "image/png", "data": png}
    return [{"type": "image", "source": source}, {"type": "text", "text": question}]

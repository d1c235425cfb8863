"""Render samples through the chat template exactly as a server does."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tools.spark.turn import Sample

TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")


def _tojson(value: object) -> str:
    # jinja2's own filter sorts the keys and escapes HTML; servers replace it with plain JSON.
    return json.dumps(value, ensure_ascii=False)


@cache
def chat_template() -> Template:
    """Compile the chat template under the environment that Transformers uses."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    return environment.from_string(TEMPLATE_PATH.read_text(encoding="utf-8"))


def render(messages: list[dict[str, Any]], **variables: Any) -> str:
    """Render ``messages`` with a generation prompt; ``tools``, ``enable_thinking`` as variables."""
    return chat_template().render(messages=messages, add_generation_prompt=True, **variables)


def prompt_of(sample: Sample) -> str:
    """Return the text before the answer of ``sample``."""
    if sample.prompt is not None:
        return sample.prompt
    return render(sample.messages, tools=sample.tools or None, enable_thinking=sample.thinking)

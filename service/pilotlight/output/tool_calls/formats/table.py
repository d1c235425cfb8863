"""The table of tool-call formats, and which of them a chat template shows."""

from collections.abc import Mapping
from types import MappingProxyType

from pilotlight.output.tool_calls.formats import header_formats, json_formats, tagged_formats
from pilotlight.output.tool_calls.formats.format import ToolCallFormat

_ROWS = (
    header_formats.HARMONY,
    tagged_formats.GEMMA4,
    header_formats.DEEPSEEK_V3,
    header_formats.DEEPSEEK_V3_1,
    json_formats.COMMAND_A,
    json_formats.COMMAND_R,
    header_formats.MISTRAL,
    header_formats.MISTRAL_V11,
    header_formats.FUNCTIONARY_V3_2,
    header_formats.FUNCTIONARY_V3_1,
    tagged_formats.QWEN3_CODER,
    tagged_formats.GLM4,
    json_formats.GRANITE,
    json_formats.PHI4_MINI,
    json_formats.LLAMA3_JSON,
    json_formats.HERMES,
)

FORMATS: Mapping[str, ToolCallFormat] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this chat template writes, if it shows one.

    The first match wins. `lacks` excludes formats whose signs are part of another's.
    """
    return next((name for name, row in FORMATS.items() if row.matches(chat_template)), None)

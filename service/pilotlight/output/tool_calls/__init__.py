"""Tool calls: the formats in which models write them, and the parser that extracts them."""

from pilotlight.output.tool_calls.formats.format import ToolCallFormat
from pilotlight.output.tool_calls.formats.table import FORMATS, detect
from pilotlight.output.tool_calls.grammars.lark import Function
from pilotlight.output.tool_calls.parser import ToolCallParser
from pilotlight.output.tool_calls.readers.call_reader import Schemas

__all__ = ["FORMATS", "Function", "Schemas", "ToolCallFormat", "ToolCallParser", "detect"]

"""Tool calls: how models write them, and what takes them out of the content."""

from pilotlight.output.tool_calls.lark import Function
from pilotlight.output.tool_calls.parser import ToolCallParser
from pilotlight.output.tool_calls.reader import Schemas
from pilotlight.output.tool_calls.table import FORMATS, Format, detect

__all__ = ["FORMATS", "Format", "Function", "Schemas", "ToolCallParser", "detect"]

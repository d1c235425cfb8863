"""The phases of a load that follow the reading of its files."""

from collections.abc import Callable
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["load", "warm"]
Report: TypeAlias = Callable[[Phase], None]
"""Reports that a phase begins, or goes on."""

"""The limits on what one rendering of a chat template may use."""

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters of a prompt, and of any string that an operation makes."""
MAX_ELEMENTS = 1_000_000
"""Elements of a list that an operation makes, and of a value at all depths that is written."""
MAX_MADE = 256 * 1024 * 1024
"""Bytes of all strings and lists that one rendering makes, on top of `MADE_PER_CHARACTER`."""
MADE_PER_CHARACTER = 16
"""More bytes for each character of the messages: templates copy a text several times."""
MAX_STEPS = 200_000
"""Passes of loops and calls of macros in one rendering; calls take about 3 s, passes less."""
MAX_SECONDS = 10.0
"""Seconds of CPU time for one rendering; 10 MB of conversation take 0.5 s."""
MAX_BITS = 1024
"""Bits of an integer that `*` or `**` makes."""
MAX_NUMBER = 100_000
"""A width or a count in a filter, a method or a format."""
MAX_INDENT = 32
"""Characters of an indent or a separator of JSON."""
MAX_SOURCE = 256 * 1024
"""Characters of a template: models' own have some ten thousand, and compiling takes time."""

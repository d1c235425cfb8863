"""The base of each direction.

Subclasses say `kw_only=True` themselves: msgspec does not inherit it.
"""

from msgspec import Struct


class Request(Struct, forbid_unknown_fields=True):
    """What a client sends. An unknown field is an error, so that a misspelled one is noticed."""


class Response(Struct):
    """What the server sends."""

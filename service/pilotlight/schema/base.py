"""The base of each direction.

Subclasses say `kw_only=True` themselves: msgspec does not inherit it.
"""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pilotlight.schema.support import HINT

NonEmpty = Annotated[str, Meta(min_length=1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Meta(min_length=1)]

ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"\S",
        description="The model's name; case does not count.",
        extra={HINT: "`GET /v1/models` lists the models"},
    ),
]
"""A name of spaces alone is refused like an empty one."""


class Request(Struct, forbid_unknown_fields=True):
    """Sent by a client. An unknown field is an error, so that a misspelled one is noticed."""

    untagged: ClassVar[bool] = False
    """Whether an object without a tag is of this type."""
    documented_as: ClassVar[str | None] = None
    """The type of the same schema that stands for this one in the OpenAPI document."""


class Response(Struct):
    """Sent by the server."""

"""The caller of a request. A module of its own, because both kinds of authentication make one."""

from typing import Literal

from msgspec import Struct


class Caller(Struct, frozen=True):
    """The sender of a request: the *name* of its API key, or of its user at the proxy."""

    name: str
    kind: Literal["key", "proxy", "anonymous"]
    groups: tuple[str, ...] = ()
    """The groups of a user, as the proxy sends them; a key has none."""

    @property
    def account(self) -> str:
        """The account that its limits apply to: a key and a user may have the same name."""
        return f"{self.kind}:{self.name}"


ANONYMOUS = Caller("anonymous", "anonymous")
"""The caller if no authentication is configured."""

"""Who is calling."""

from typing import Literal

from msgspec import Struct


class Caller(Struct, frozen=True):
    """Who sent a request. *name* is a key's, or a user's as the proxy in front has it."""

    name: str
    kind: Literal["key", "proxy", "anonymous"]
    groups: tuple[str, ...] = ()
    """The user's, as the proxy has them; a key has none."""

    @property
    def account(self) -> str:
        """What its limits are counted under: a key and a user may have one name."""
        return f"{self.kind}:{self.name}"


ANONYMOUS = Caller("anonymous", "anonymous")
"""Who nobody asked for a key."""

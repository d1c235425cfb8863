"""What came of one case of one client."""

from msgspec import Struct


class Case(Struct, frozen=True):
    """A thing that a client was asked to do; without an error it did it."""

    case: str
    error: str | None = None


class Outcome(Struct, frozen=True):
    """What came of a client: the version that ran, and its cases."""

    version: str
    cases: tuple[Case, ...]

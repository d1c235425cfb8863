"""What an audit found, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """The exit status."""

    CLEAN = 0
    NOT_LOOKED = 0  # nothing is wrong with the project where its network ends
    VULNERABLE = 1
    IN_PART = 2


@dataclass(frozen=True)
class Finding:
    """What is known of one distribution; *skipped* says why nothing is."""

    name: str
    version: str = ""
    vulnerabilities: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Verdict:
    """The exit status, and the lines to print."""

    status: Status
    lines: tuple[str, ...]


def not_looked(why: str) -> Verdict:
    """Return what follows where nothing could be asked."""
    return Verdict(Status.NOT_LOOKED, (f"not audited: {why}",))


def of(findings: Sequence[Finding]) -> Verdict:
    """Return what follows from *findings*, of a service that knew what it had to know.

    One distribution that it does not know is no reason to believe in all the others.
    """
    vulnerable = [
        f"{one.name} {one.version}: {vulnerability}"
        for one in findings
        for vulnerability in one.vulnerabilities
    ]
    skipped = [f"{one.name} was not audited: {one.skipped}" for one in findings if one.skipped]
    if vulnerable:
        return Verdict(Status.VULNERABLE, (*vulnerable, *skipped))
    if skipped or not findings:
        return Verdict(Status.IN_PART, (*skipped, "not all was audited"))
    return Verdict(Status.CLEAN, (f"no known vulnerability in {len(findings)} distributions",))

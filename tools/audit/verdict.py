"""The findings of an audit, and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """The exit status."""

    CLEAN = 0
    NOT_AUDITED = 0  # a network without vulnerabilities is no fault of the project
    VULNERABLE = 1
    IN_PART = 2


@dataclass(frozen=True)
class Finding:
    """The vulnerabilities of one distribution; *skipped* is the reason why they are unknown."""

    name: str
    version: str = ""
    vulnerabilities: tuple[str, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Verdict:
    """The exit status, and the lines to print."""

    status: Status
    lines: tuple[str, ...]


def not_audited(why: str) -> Verdict:
    """Return the verdict of an audit that could not begin."""
    return Verdict(Status.NOT_AUDITED, (f"not audited: {why}",))


def of(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict of *findings*; a skipped distribution makes it an audit in part."""
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

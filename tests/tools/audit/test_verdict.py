"""What follows from an audit's findings."""

from tools.audit import verdict
from tools.audit.verdict import Finding, Status, Verdict

FINE = Finding("litestar", "2.25.0")
HURT = Finding("jinja2", "2.10", ("PYSEC-2019-217, fixed in 2.10.1", "PYSEC-2021-66"))
SKIPPED = Finding("msgspec", skipped="not found")


def test_nothing_known_is_clean():
    told = verdict.of([FINE])
    assert told == Verdict(Status.CLEAN, ("no known vulnerability in 1 distributions",))


def test_each_vulnerability_is_a_line():
    assert verdict.of([FINE, HURT]) == Verdict(
        Status.VULNERABLE,
        ("jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1", "jinja2 2.10: PYSEC-2021-66"),
    )


def test_one_that_was_not_audited_is_not_clean():
    assert verdict.of([FINE, SKIPPED]) == Verdict(
        Status.IN_PART, ("msgspec was not audited: not found", "not all was audited")
    )


def test_a_vulnerability_counts_for_more_than_one_that_was_not_audited():
    told = verdict.of([SKIPPED, HURT])
    assert told.status == Status.VULNERABLE
    assert told.lines[-1] == "msgspec was not audited: not found"


def test_no_distribution_at_all_is_not_clean():
    """A file that holds nothing was not what was meant."""
    assert verdict.of([]).status == Status.IN_PART


def test_not_to_have_looked_says_so_and_fails_nothing():
    told = verdict.not_audited("no route to it")
    assert told == Verdict(Status.NOT_AUDITED, ("not audited: no route to it",))
    assert int(told.status) == 0

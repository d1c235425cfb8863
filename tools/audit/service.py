"""Runs pip-audit, and checks first that its index knows any vulnerability at all."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from tools.audit import verdict
from tools.audit.verdict import Finding, Verdict

# A mirror answers "not found" or omits vulnerabilities, and pip-audit reports no vulnerability for
# both. This release has one for certain, PYSEC-2019-217.
_KNOWN = "jinja2==2.10"

Run: TypeAlias = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class AuditFailed(Exception):
    """pip-audit failed; the message is its last line."""


def pip_audit(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run pip-audit in this environment. It reads every file and needs no pip: pins have hashes."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--desc", "off", "--progress-spinner", "off", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - ours


def audit(files: Sequence[Path], ignored: Sequence[str] = (), run: Run = pip_audit) -> Verdict:
    """Return what pip-audit finds about the pinned, hashed requirements in *files*.

    Vulnerabilities with an identifier in *ignored* do not count.

    Raises:
        AuditFailed: a file cannot be read, a pin has no hash, or the index failed meanwhile

    """
    with TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(f"{_KNOWN} --hash=sha256:{0:064}\n")
        try:
            (finding,) = _findings(run, [known])
        except AuditFailed as error:
            return verdict.not_audited(f"the vulnerability service cannot be reached ({error})")
    if not finding.vulnerabilities:
        return verdict.not_audited(
            f"the index knows no vulnerabilities, not even that of {_KNOWN.replace('==', ' ')}"
        )
    return verdict.of(list(_findings(run, files, ignored)))


def _findings(run: Run, files: Sequence[Path], ignored: Sequence[str] = ()) -> Iterator[Finding]:
    arguments = [argument for path in files for argument in ("--requirement", str(path))]
    arguments += [argument for name in ignored for argument in ("--ignore-vuln", name)]
    done = run(arguments)
    # The status is 1 for a vulnerability and for a failure; only a failure prints no document.
    if not done.stdout:
        raise AuditFailed((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    for dependency in json.loads(done.stdout)["dependencies"]:
        yield _finding(dependency)


def _finding(dependency: dict[str, Any]) -> Finding:
    if reason := dependency.get("skip_reason"):
        return Finding(dependency["name"], skipped=reason)
    return Finding(
        dependency["name"], dependency["version"], tuple(map(_line, dependency["vulns"]))
    )


def _line(vulnerability: dict[str, Any]) -> str:
    names = ", ".join([vulnerability["id"], *sorted(vulnerability["aliases"])])
    fixed = ", ".join(vulnerability["fix_versions"])
    return f"{names}, fixed in {fixed}" if fixed else f"{names}, not fixed yet"

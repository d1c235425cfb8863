"""pip-audit, told to look; and whether who it asks knows anything."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import requests
from packaging.version import Version
from pip_audit._audit import Auditor
from pip_audit._dependency_source import RequirementSource
from pip_audit._service import (
    Dependency,
    ResolvedDependency,
    ServiceError,
    SkippedDependency,
    VulnerabilityResult,
    VulnerabilityService,
)

from tools.audit import verdict
from tools.audit.verdict import Finding, Verdict

# An answer in which this has no vulnerability comes from an index without them: a mirror, which
# says "not found" or leaves them out, and pip-audit takes both for a clean bill (PYSEC-2019-217).
_KNOWN = ResolvedDependency("jinja2", Version("2.10"))


def audit(service: VulnerabilityService, files: Sequence[Path], ignored: set[str]) -> Verdict:
    """Return what *service* knows of the pinned, hashed requirements in *files*.

    Vulnerabilities with an identifier in *ignored* do not count.

    Raises:
        DependencySourceError: a file cannot be read, or a pin has no hash
        ServiceError, RequestException: the service failed after it had answered

    """
    try:
        _, known = service.query(_KNOWN)
    except (ServiceError, requests.RequestException) as error:
        why = type(error).__name__
        return verdict.not_looked(f"the vulnerability service cannot be reached ({why})")
    if not known:
        return verdict.not_looked(
            f"the index that answers knows no vulnerabilities, not even in"
            f" {_KNOWN.name} {_KNOWN.version}"
        )
    source = RequirementSource(list(files), require_hashes=True, disable_pip=True)
    told = Auditor(service).audit(source)
    return verdict.of([_finding(dependency, results, ignored) for dependency, results in told])


def _finding(
    dependency: Dependency, results: Iterable[VulnerabilityResult], ignored: set[str]
) -> Finding:
    if isinstance(dependency, SkippedDependency):
        return Finding(dependency.name, skipped=dependency.skip_reason)
    told = tuple(_line(one) for one in results if not one.has_any_id(ignored))
    return Finding(dependency.name, str(dependency.version), told)


def _line(result: VulnerabilityResult) -> str:
    names = ", ".join([result.id, *sorted(result.aliases)])
    mended = ", ".join(map(str, result.fix_versions))
    return f"{names}, mended in {mended}" if mended else f"{names}, not mended yet"

"""The CycloneDX document: what `cyclonedx-py` finds in an environment, and the parts beside it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft7Validator, FormatChecker
from packageurl import PackageURL

from tools.sbom.part import Part, System, purl

_licenses = LicenseFactory()


class InvalidDocumentError(Exception):
    """The document is not what CycloneDX' schema asks for."""


def _check_references_by_expression(formats: FormatChecker) -> None:
    """Check references that are ASCII by RFC 3986, with the regular expression in *formats*.

    There an IRI reference (RFC 3987) is a URI reference. jsonschema's check of the former parses
    each by Earley's algorithm, which takes 70 ms: a minute for what the image holds.
    """
    is_uri_reference, _ = formats.checkers["uri-reference"]
    is_iri_reference, _ = formats.checkers["iri-reference"]

    def is_reference(instance: object) -> bool:
        # The expression's `$` would let a newline at the end pass.
        simple = isinstance(instance, str) and instance.isascii() and "\n" not in instance
        return bool(is_uri_reference(instance) if simple else is_iri_reference(instance))

    formats.checks("iri-reference", raises=ValueError)(is_reference)


_check_references_by_expression(Draft7Validator.FORMAT_CHECKER)


def normalised(name: str) -> str:
    """Return a distribution's name as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def of_environment(python: Path, pyproject: Path, packages: Path) -> Bom:
    """Return a document of the distributions that *python* imports from.

    *pyproject* is that of the distribution that the document describes. Licences that
    `cyclonedx-py` does not report are looked up in *packages*.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    # Not validated there: `text` validates the whole document.
    command += ["--no-validate", "--pyproject", str(pyproject), str(python)]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - our own command
    warnings = done.stderr.decode(errors="replace").splitlines(keepends=True)
    sys.stderr.writelines(line for line in warnings if "Validation skipped" not in line)
    done.check_returncode()
    bom: Bom = Bom.from_json(json.loads(done.stdout))
    found = distributions(path=[str(packages)])
    declared = {normalised(one.name): one.metadata.get_all("License", []) for one in found}
    for component in _all(bom):
        _complete(component, declared.get(normalised(component.name), []))
    return bom


def _all(bom: Bom) -> Iterable[Component]:
    if bom.metadata.component:
        yield bom.metadata.component
    yield from bom.components


def _complete(component: Component, license_names: list[str]) -> None:
    # A folder of the build machine, which means nothing to a reader.
    for reference in list(component.external_references):
        if reference.url.uri.startswith("file:"):
            component.external_references.remove(reference)
    if component.purl is None:
        # Installed from source: on PyPI the name may belong to another project.
        name = normalised(component.name)
        component.purl = PackageURL.from_string(purl("generic", name, version=component.version))
    if not component.licenses and license_names:
        declared = LicenseAcknowledgement.DECLARED
        line = license_names[0].strip().partition("\n")[0]
        component.licenses.add(_licenses.make_from_string(line, license_acknowledgement=declared))


def add_parts(bom: Bom, parts: Iterable[Part]) -> None:
    """Add *parts*; who holds one depends on it, and else what the document is about."""
    holders = {normalised(one.name): one for one in bom.components}
    for part in parts:
        component = _component(part)
        bom.components.add(component)
        holder = holders.get(part.inside or "", bom.metadata.component)
        if holder:
            bom.register_dependency(holder, [component])


def add_system(bom: Bom, system: System) -> None:
    """Add an operating system and its packages, which depend on nothing here."""
    component = Component(
        name=system.name,
        version=system.version,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"system:{system.name}@{system.version}",
    )
    packages = [_component(one) for one in system.packages]
    bom.components.add(component)
    bom.components.update(packages)
    bom.register_dependency(component, packages)


def _component(part: Part) -> Component:
    at = PackageURL.from_string(part.purl) if part.purl else None
    return Component(
        name=part.name,
        version=part.version,
        type=ComponentType.FILE if part.sha256 else ComponentType.LIBRARY,
        # A package that is copied from another system is listed twice.
        bom_ref=f"{part.inside or ''}:{part.purl or part.name}",
        purl=at,
        cpe=part.cpe,
        licenses=[_licenses.make_from_string(part.license_id)] if part.license_id else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else [],
    )


def text(bom: Bom) -> str:
    """Return the document as JSON of CycloneDX 1.6, the same for the same environment.

    Raises:
        InvalidDocumentError: CycloneDX' schema refuses it

    """
    # A serial number and a timestamp would make every build of an image different.
    bom.serial_number = None
    bom.metadata.timestamp = None
    written: str = JsonV1Dot6(bom).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(written):
        raise InvalidDocumentError(str(error))
    return written + "\n"

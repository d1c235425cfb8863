"""Debian's packages, from dpkg's own list of them."""

from email.message import Message
from email.parser import HeaderParser

from tools.sbom.part import Part, System, purl


def system(os_release: str, status: str) -> System:
    """Return what `/etc/os-release` and `/var/lib/dpkg/status` contain.

    Licences are left out: Debian has them as prose, in `/usr/share/doc/*/copyright`.
    """
    release = dict(_assignment(line) for line in os_release.splitlines() if "=" in line)
    name, version = release["ID"], release.get("VERSION_ID", "")
    paragraphs = (HeaderParser().parsestr(text) for text in status.split("\n\n") if text.strip())
    packages = (
        _package(one, name, version)
        for one in paragraphs
        if "installed" in one.get("Status", "").split()
    )
    return System(name, version, tuple(packages))


def _package(fields: Message, distribution: str, release: str) -> Part:
    # Advisories name the source package, `Source: gcc-12 (12.2.0-14)`, where it has another name;
    # scanners read it as the qualifier `upstream`.
    source = fields.get("Source", "").split(" ")[0]
    version = fields["Version"]
    at = purl(
        "deb",
        distribution,
        fields["Package"],
        version=version,
        arch=fields["Architecture"],
        distro=f"{distribution}-{release}" if release else distribution,
        **({"upstream": source} if source else {}),
    )
    return Part(fields["Package"], version, at)


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value.strip("\"'")

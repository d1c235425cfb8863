"""Debian's packages, from dpkg's list."""

from tools.sbom import debian
from tools.sbom.part import Part

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
LIBC = """\
Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Contains the standard libraries that are used by nearly all programs on
 the system.
 .
 Version: 1
"""
LOGIN = "Package: login\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:4.13\n"
STDCXX = """\
Package: libstdc++6
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1
"""
REMOVED = "Package: cron\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 3.0\n"
BROKEN = "Package: perl\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 5.36\n"


def test_an_installed_package_is_told_with_its_source():
    """Advisories name the source package; a description's lines are none of the fields."""
    system = debian.system(RELEASE, LIBC)
    assert (system.name, system.version) == ("debian", "12")
    assert system.packages == (
        Part(
            "libc6",
            "2.36-9+deb12u10",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc",
        ),
    )


def test_a_package_that_is_not_installed_is_not_told():
    """What was removed left its configuration; what broke off is not there."""
    system = debian.system(RELEASE, f"{REMOVED}\n{LOGIN}\n{BROKEN}")
    assert [one.name for one in system.packages] == ["login"]


def test_a_name_with_plus_signs_an_epoch_and_a_source_with_a_version():
    system = debian.system(RELEASE, f"{STDCXX}\n{LOGIN}")
    assert [one.purl for one in system.packages] == [
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12",
        "pkg:deb/debian/login@1:4.13?arch=amd64&distro=debian-12",
    ]


def test_a_release_without_a_number():
    """Debian's testing has none."""
    system = debian.system("ID=debian\n", LOGIN)
    assert system.packages[0].purl == "pkg:deb/debian/login@1:4.13?arch=amd64&distro=debian"


def test_an_empty_list_has_no_packages():
    assert debian.system(RELEASE, "\n").packages == ()

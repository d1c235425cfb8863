"""An audit against a service that knows, knows nothing, cannot be reached, or breaks off."""

from pathlib import Path

import pytest

pip_audit = pytest.importorskip(
    "pip_audit._service",
    reason="pip-audit is not installed: the development requirements have it",
)

import requests  # noqa: E402 - a dependency of pip-audit's
from packaging.version import Version  # noqa: E402
from pip_audit._dependency_source import DependencySourceError  # noqa: E402

from tools.audit.service import audit  # noqa: E402
from tools.audit.verdict import Status  # noqa: E402

DIGEST = "0" * 64
PINS = f"litestar==2.25.0 --hash=sha256:{DIGEST}\nmsgspec==0.22.0 --hash=sha256:{DIGEST}\n"
FORMER = pip_audit.VulnerabilityResult.create(
    ["CVE-2019-10906", "PYSEC-2019-217"], "An escape.", [Version("2.10.1")], None
)
NEW = pip_audit.VulnerabilityResult.create(["GHSA-1", "CVE-2026-1"], "A leak.", [], None)
CANARY = {"jinja2 2.10": [FORMER]}


class Index(pip_audit.VulnerabilityService):
    """Tells what is *known* of a name and version, lacks the *missing*, fails at *broken*."""

    def __init__(self, known=None, missing=(), broken=None, error=None):
        self.known, self.missing = known or {}, missing
        self.broken, self.error = broken, error
        self.asked = []

    def query(self, spec):
        self.asked.append(spec.name)
        if spec.name == self.broken:
            raise self.error
        if spec.name in self.missing:
            return pip_audit.SkippedDependency(spec.name, "not found"), []
        return spec, self.known.get(f"{spec.name} {spec.version}", [])


@pytest.fixture
def pins(tmp_path) -> Path:
    path = tmp_path / "serve.txt"
    path.write_text(PINS)
    return path


def test_a_service_that_knows_of_nothing_here_is_believed(pins):
    index = Index(CANARY)
    told = audit(index, [pins], set())
    assert (told.status, told.lines) == (
        Status.CLEAN,
        ("no known vulnerability in 2 distributions",),
    )
    assert sorted(index.asked) == ["jinja2", "litestar", "msgspec"]


def test_a_known_vulnerability_is_told_with_all_its_names(pins):
    told = audit(Index(CANARY | {"msgspec 0.22.0": [NEW]}), [pins], set())
    assert told.status == Status.VULNERABLE
    assert told.lines == ("msgspec 0.22.0: CVE-2026-1, GHSA-1, not mended yet",)


@pytest.mark.parametrize("name", ["GHSA-1", "CVE-2026-1"])
def test_one_that_is_ignored_does_not_count_under_any_name(pins, name):
    assert audit(Index(CANARY | {"msgspec 0.22.0": [NEW]}), [pins], {name}).status == Status.CLEAN


def test_the_version_that_mends_it_is_told(pins):
    told = audit(Index(CANARY | {"litestar 2.25.0": [FORMER]}), [pins], set())
    assert told.lines == ("litestar 2.25.0: PYSEC-2019-217, CVE-2019-10906, mended in 2.10.1",)


@pytest.mark.parametrize(
    "error",
    [
        pip_audit.ConnectionError("timed out"),
        pip_audit.ServiceError("503"),
        requests.ConnectionError("no such host"),
        requests.exceptions.SSLError("a certificate of its own"),
        requests.JSONDecodeError("a page to log in", "<html>", 0),
    ],
)
def test_a_service_that_cannot_be_reached_is_said_in_one_line(pins, error):
    """It fails nothing, and nothing is asked of it any more."""
    index = Index(broken="jinja2", error=error)
    told = audit(index, [pins], set())
    why = f"the vulnerability service cannot be reached ({type(error).__name__})"
    assert told.lines == (f"not audited: {why}",)
    assert int(told.status) == 0
    assert index.asked == ["jinja2"]


@pytest.mark.parametrize("index", [Index(missing=["jinja2"]), Index()])
def test_an_index_without_vulnerabilities_is_not_a_clean_bill(pins, index):
    """A mirror says "not found", or answers without them."""
    told = audit(index, [pins], set())
    assert told.status == Status.NOT_LOOKED
    assert told.lines == (
        "not audited: the index that answers knows no vulnerabilities, not even in jinja2 2.10",
    )


def test_a_distribution_that_the_service_lacks_is_named(pins):
    told = audit(Index(CANARY, missing=["msgspec"]), [pins], set())
    assert told.status == Status.IN_PART
    assert told.lines[0] == "msgspec was not audited: not found"


def test_a_service_that_breaks_off_is_an_error(pins):
    """It was there: half an audit is not called one that could not be."""
    index = Index(CANARY, broken="msgspec", error=requests.ConnectionError("reset"))
    with pytest.raises(requests.ConnectionError):
        audit(index, [pins], set())


def test_a_pin_without_a_hash_is_an_error(tmp_path):
    """What it stands for is not known."""
    path = tmp_path / "serve.txt"
    path.write_text("litestar==2.25.0\n")
    with pytest.raises(DependencySourceError):
        audit(Index(CANARY), [path], set())


def test_the_serving_requirements_can_be_read():
    """Every pin has a hash, and what is audited is what is served."""
    pins = Path(__file__).parents[3] / "requirements"
    files = [*sorted(pins.glob("serve-*.txt")), pins / "llama_cpp.txt"]
    index = Index(CANARY)
    assert audit(index, files, set()).status == Status.CLEAN
    assert {"llama-cpp-python", "onnxruntime-genai", "opentelemetry-sdk"} <= set(index.asked)

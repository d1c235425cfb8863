"""The document of a small environment, and of the one that runs these tests."""

import json
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("cyclonedx_py") is None or find_spec("cyclonedx") is None,
        reason="cyclonedx-bom is not installed: the development requirements have it",
    ),
]
MARKER = "a-folder-of-the-machine"


def write(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tools.sbom", *map(str, options)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=REPOSITORY,
    )


def document(python: Path, output: Path, *options: object) -> dict[str, object]:
    """Write it in this process: importing CycloneDX's packages takes longer than the rest."""
    from tools.sbom.__main__ import main  # noqa: PLC0415 - it needs cyclonedx

    main([str(one) for one in ("--python", python, "--output", output, *options)])
    return json.loads(output.read_text())


def every(written) -> list:
    return [written["metadata"]["component"], *written["components"]]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def install(packages: Path, name: str, version: str, headers: str = "", source: str = "") -> None:
    """Put down what an installer leaves of a distribution."""
    info = packages / f"{name}-{version}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}"
    (info / "METADATA").write_text(metadata)
    if source:
        (info / "direct_url.json").write_text(json.dumps({"url": source, "dir_info": {}}))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(MARKER)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    install(packages, "pilotlight", "0.1.0", "License-Expression: Apache-2.0\n", f"file://{folder}")
    install(packages, "pilotlight_onnx", "0.1.0", source=f"file://{folder}/backends/onnx")
    install(packages, "Some_Package", "1.2", "License: 3-Clause BSD License\n")
    install(packages, "silent", "7!2.0+local")
    return folder


@pytest.fixture(scope="module")
def debian(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("debian")
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2.13\n"
    )
    return root


@pytest.fixture(scope="module")
def small(environment, debian):
    output = environment / "sbom.cdx.json"
    return document(environment / "venv/bin/python", output, "--system", debian)


def test_what_cyclonedx_requires_is_there(small):
    """The writer has it checked against the whole schema; this is what readers lean on."""
    assert (small["bomFormat"], small["specVersion"]) == ("CycloneDX", "1.6")
    components = every(small)
    assert all(one["type"] and one["name"] and one["bom-ref"] for one in components)
    references = [one["bom-ref"] for one in components]
    assert len(set(references)) == len(references)
    for edge in small["dependencies"]:
        assert {edge["ref"], *edge.get("dependsOn", [])} <= set(references)


def test_each_distribution_has_version_and_purl(small):
    told = {canonical(one["name"]): (one.get("version"), one.get("purl")) for one in every(small)}
    assert told["some-package"] == ("1.2", "pkg:pypi/some-package@1.2")
    assert told["silent"] == ("7!2.0+local", "pkg:pypi/silent@7%212.0%2Blocal")


def test_what_was_installed_from_sources_is_not_said_to_be_on_pypi(small):
    """Another project may have that name there."""
    told = {canonical(one["name"]): one.get("purl") for one in every(small)}
    assert told["pilotlight"] == "pkg:generic/pilotlight@0.1.0"
    assert told["pilotlight-onnx"] == "pkg:generic/pilotlight-onnx@0.1.0"


def test_a_licence_is_told_as_it_was_declared(small):
    told = {canonical(one["name"]): one.get("licenses") for one in every(small)}
    assert told["some-package"] == [
        {"license": {"acknowledgement": "declared", "name": "3-Clause BSD License"}}
    ]
    assert told["silent"] is None


def test_the_interpreter_and_the_systems_packages_are_told(small):
    told = {one["name"]: one for one in every(small)}
    version = ".".join(map(str, sys.version_info[:3]))
    assert told["python"]["purl"] == f"pkg:generic/python@{version}"
    assert told["debian"]["type"] == "operating-system"
    assert told["zlib1g"]["purl"] == "pkg:deb/debian/zlib1g@1:1.2.13?arch=amd64&distro=debian-12"
    edges = {one["ref"]: one.get("dependsOn", []) for one in small["dependencies"]}
    assert edges[told["debian"]["bom-ref"]] == [told["zlib1g"]["bom-ref"]]
    assert told["python"]["bom-ref"] in edges["root-component"]


def test_the_command_writes_the_same_document_again(environment, debian, small):
    """From a process of its own, without a warning."""
    output = environment / "again.cdx.json"
    python = environment / "venv/bin/python"
    done = write("--python", python, "--output", output, "--system", debian)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(output.read_text()) == small


def test_no_folder_of_the_machine_is_told(small):
    text = json.dumps(small)
    assert small["components"]
    assert "file:" not in text
    assert MARKER not in text
    assert str(REPOSITORY) not in text
    assert sys.prefix not in text


def test_a_system_that_is_no_debian_is_said_to_be_left_out(environment, tmp_path, capsys):
    """A reader of the build's log learns that the list has none of its packages."""
    output = tmp_path / "sbom.cdx.json"
    document(environment / "venv/bin/python", output, "--system", tmp_path)
    assert f"{tmp_path}/var/lib/dpkg/status is not there" in capsys.readouterr().err
    assert "pkg:deb" not in output.read_text()


def test_an_interpreter_that_is_not_there_writes_nothing(tmp_path):
    output = tmp_path / "sbom.cdx.json"
    done = write("--python", tmp_path / "python", "--output", output)
    assert done.returncode != 0
    assert not output.exists()


def test_a_document_that_cyclonedx_refuses_is_not_returned():
    """A part whose hash is none, as if the tool were wrong."""
    from cyclonedx.model.bom import Bom  # noqa: PLC0415

    from tools.sbom.document import InvalidDocumentError, add_parts, text  # noqa: PLC0415
    from tools.sbom.part import Part  # noqa: PLC0415

    bom = Bom()
    add_parts(bom, [Part("libx.so", None, sha256="no hash")])
    with pytest.raises(InvalidDocumentError):
        text(bom)


@pytest.mark.parametrize(
    ("reference", "valid"),
    [
        ("https://example.org/a?b#c", True),
        ("git+https://example.org/x@v1#e", True),
        ("http://[::1]/x", True),
        ("..//x", True),
        ("https://example.org/\N{LATIN SMALL LETTER U WITH DIAERESIS}", True),
        ("a b", False),
        ("100%", False),
        ("http://a:99x/", False),
        ("a\n", False),
        ("\N{LATIN SMALL LETTER U WITH DIAERESIS} b", False),
    ],
)
def test_references_are_checked(reference, valid):
    """By RFC 3986 where they are ASCII, else by RFC 3987."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    import tools.sbom.document  # noqa: F401, PLC0415

    written = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "externalReferences": [{"type": "other", "url": reference}],
    }
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(written))
    assert (error is None) == valid


def test_every_distribution_that_is_installed_here_is_told(tmp_path):
    """The environment of these tests, its native parts among it."""
    written = document(Path(sys.executable), tmp_path / "sbom.cdx.json")
    told = {(canonical(one["name"]), one.get("version")) for one in every(written)}
    packages = sysconfig.get_path("purelib")
    installed = {(canonical(one.name), one.version) for one in distributions(path=[packages])}
    assert installed
    assert installed <= told
    assert {"llama.cpp", "libonnxruntime-genai"} <= {one["name"] for one in written["components"]}
    assert "file:" not in json.dumps(written)
    assert str(REPOSITORY) not in json.dumps(written)

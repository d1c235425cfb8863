"""The places that list the distributions list all of them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BACKENDS = {path.parent.name: path for path in ROOT.glob("backends/*/pyproject.toml")}
NAMES = {tomllib.loads(path.read_text())["project"]["name"] for path in BACKENDS.values()}
MODULES = {
    next(path.parent.glob("pilotlight_*/__init__.py")).parent.name for path in BACKENDS.values()
}


def test_make_dist_builds_every_distribution():
    (packages,) = re.findall(r"for package in (.*) \.; do", MAKEFILE)
    assert set(packages.split()) == {f"backends/{name}" for name in BACKENDS}


def test_pins_leave_every_distribution_out():
    left_out = set(re.findall(r"--no-emit-package (pilotlight\S*)", MAKEFILE))
    assert left_out == {"pilotlight", *NAMES}


def test_workspace_has_every_distribution():
    assert set(PYPROJECT["tool"]["uv"]["sources"]) == NAMES


def test_types_and_imports_of_every_distribution_are_checked():
    assert set(PYPROJECT["tool"]["mypy"]["packages"]) >= MODULES
    assert set(PYPROJECT["tool"]["importlinter"]["root_packages"]) == {"pilotlight", *MODULES}
    for folder in BACKENDS:
        assert f"backends/{folder}" in PYPROJECT["tool"]["mypy"]["mypy_path"]
        assert f"backends/{folder}" in PYPROJECT["tool"]["ruff"]["src"]


def test_image_installs_what_the_service_requires():
    """Backends are the image's choice; everything else of the project is installed always."""
    required = {
        name for name in NAMES if f"{name}==" in " ".join(PYPROJECT["project"]["dependencies"])
    }
    (packages,) = re.findall(
        r"for package in (.*) \"\$@\" \.; do", (ROOT / "Containerfile").read_text()
    )
    installed = {
        tomllib.loads((ROOT / one / "pyproject.toml").read_text())["project"]["name"]
        for one in packages.split()
    }
    assert installed == required == {"pilotlight-backend", "pilotlight-isolation"}

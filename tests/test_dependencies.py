"""Each distribution declares what it imports: what another one happens to bring can go any day."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    "pilotlight": (ROOT / "pyproject.toml", ROOT / "service/pilotlight"),
    **{
        f"pilotlight-{folder.name}": (folder / "pyproject.toml", next(folder.glob("pilotlight_*")))
        for parent in ("backends", "examples")
        for folder in sorted((ROOT / parent).iterdir())
        if (folder / "pyproject.toml").exists()
    },
}
NATIVE = {"pilotlight-llama_cpp": "llama-cpp-python", "pilotlight-onnx": "onnxruntime-genai"}
"""Libraries that are found by their path, and so in no import statement."""

STANDARD = sys.stdlib_module_names | {"compression"}
"""Later versions of Python have more: this one is 3.14's."""


def name_of(requirement: str) -> str:
    """Return the normalised name of the distribution in *requirement*."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def declared(pyproject: Path) -> set[str]:
    """Return what *pyproject* declares, itself and its extras included."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    return {name_of(one) for one in (project["name"], *requirements)}


def imported(source: str) -> Iterator[str]:
    """Yield the top-level modules that *source* imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def undeclared(package: Path, known: set[str]) -> set[str]:
    """Return what the modules of *package* import and *known* distributions do not bring."""
    providers = packages_distributions()
    modules = {
        module for path in package.rglob("*.py") for module in imported(path.read_text("utf-8"))
    } - STANDARD
    assert modules, "nothing was looked at"
    return {
        module
        for module in modules
        # One that is not installed here, as those of some extras, has its distribution's name.
        if not {name_of(one) for one in providers.get(module, [module])} & known
    }


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_what_is_imported_is_declared(name):
    pyproject, package = DISTRIBUTIONS[name]
    assert undeclared(package, declared(pyproject)) == set()


@pytest.mark.parametrize(("name", "library"), NATIVE.items())
def test_what_is_found_by_its_path_is_declared(name, library):
    assert library in declared(DISTRIBUTIONS[name][0])


def test_an_import_that_nobody_declares_is_found(tmp_path):
    """Wherever it stands, and under the name of its distribution where that is another one."""
    (tmp_path / "module.py").write_text(
        "import os, yaml\nfrom numpy.linalg import norm\n"
        "def late():\n    import uvicorn.config\n    from nowhere import thing\n"
    )
    assert undeclared(tmp_path, {"pyyaml"}) == {"numpy", "uvicorn", "nowhere"}
    assert undeclared(tmp_path, {"pyyaml", "numpy", "uvicorn", "nowhere"}) == set()

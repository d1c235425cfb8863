"""The workflows: each step that runs make runs a target that is there."""

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
MAKEFILES = "".join(
    (REPOSITORY / name).read_text() for name in ("Makefile", "backends/llama_cpp/wheel.mk")
)
TARGETS = set(re.findall(r"(?m)^([a-z_-]+):(?!=)", MAKEFILES))
MODULES = re.compile(r"python3? -m ([a-z_.]+)")


def runs(workflow: Path) -> list[str]:
    """Return the shell lines of every step in *workflow*."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def targets(script: str) -> list[str]:
    """Return the targets of each call of make in *script*."""
    calls = re.findall(r"(?m)\bmake\s+(?:--\S+\s+)*([a-z_-]+)", script)
    return list(calls)


def test_there_are_workflows():
    assert {path.name for path in WORKFLOWS} == {"ci.yml", "nightly.yml", "release.yml"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_target_and_module_is_there(workflow: Path):
    called = [target for script in runs(workflow) for target in targets(script)]
    assert called
    assert set(called) <= TARGETS
    for script in runs(workflow):
        for module in MODULES.findall(script):
            assert (REPOSITORY / f"{module.replace('.', '/')}.py").exists(), module


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_interpolated_into_a_shell_but_the_matrix(workflow: Path):
    """What others choose, such as a branch's name, reaches a shell by its environment."""
    for script in runs(workflow):
        for expression in re.findall(r"\$\{\{\s*(.*?)\s*\}\}", script):
            assert expression.startswith("matrix."), expression

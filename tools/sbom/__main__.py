"""``python -m tools.sbom --python ENV/bin/python --output FILE``: list an environment."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

from tools.sbom import debian, native, vendored
from tools.sbom.document import add_parts, add_system, normalised, of_environment, text
from tools.sbom.part import System, cpython

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
_ASK = """
import json, platform, sysconfig
print(json.dumps([platform.python_version(), sysconfig.get_path("purelib")]))
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--system", type=Path, help="the root of a Debian, whose packages to add")
    parser.add_argument("--copied-from", type=Path, help="the root that slim.sh copied from")
    options = parser.parse_args(argv)

    asked = subprocess.run(  # noqa: S603 - the interpreter that was named
        [options.python, "-c", _ASK], check=True, stdout=subprocess.PIPE
    )
    version, folder = json.loads(asked.stdout)
    packages = Path(folder)
    versions = {normalised(d.name): d.version for d in distributions(path=[folder])}

    bom = of_environment(options.python, _PYPROJECT, packages)
    add_parts(bom, [cpython(version)])
    add_parts(bom, native.inside(packages, versions, _system(options.copied_from)))
    add_parts(bom, vendored.inside(packages))
    if system := _system(options.system):
        add_system(bom, system)
    options.output.write_text(text(bom), encoding="utf-8")


def _system(root: Path | None) -> System | None:
    """Return the Debian at *root*; say so where another kind of system is, and return None."""
    if root is None:
        return None
    status = root / "var/lib/dpkg/status"
    if not status.is_file():
        sys.stderr.write(f"{status} is not there: the system's packages are not listed\n")
        return None
    release = (root / "etc/os-release").read_text(encoding="utf-8")
    return debian.system(release, status.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""The command that fetches a model."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotlight.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from pilotlight.models.catalog import ModelEntry


def pull(arguments: dict[str, Any]) -> None:
    """Fetch a model, and say where it is and what it is called."""
    from pilotlight.models.fetch.address import Origin, parse_address, place  # noqa: PLC0415
    from pilotlight.models.fetch.failure import FetchFailed  # noqa: PLC0415
    from pilotlight.models.fetch.fetch import fetch  # noqa: PLC0415
    from pilotlight.models.fetch.progress import ProgressBar  # noqa: PLC0415
    from pilotlight.models.models_file import read_models_file  # noqa: PLC0415

    address = parse_address(arguments.pop("address"), arguments.pop("sha256"))
    name, connections = arguments.pop("name"), arguments.pop("connections")
    with_projector = not arguments.pop("no_mmproj")
    if connections < 1:
        raise ConfigError("--connections: expected at least 1")
    settings = load_settings(arguments)
    configured = read_models_file(settings.models_file, settings.models_dir)
    there = place(address, settings.models_dir, name)
    progress = ProgressBar()
    try:
        origin = Origin(address, there.root, with_projector=with_projector)
        fetched = fetch([origin], progress, connections=connections)
    except FetchFailed as error:
        progress.end()
        sys.exit(f"pilotlight: {error}")
    except KeyboardInterrupt:
        progress.end()
        print("pilotlight: stopped; run the same command again to continue", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    progress.end()
    for path in fetched:
        print(path)  # noqa: T201
    if not fetched:
        print(f"{there.root} (already there)")  # noqa: T201
    print(_served_as(there.model, settings, configured))  # noqa: T201


def _served_as(path: Path, settings: Settings, configured: Sequence["ModelEntry"]) -> str:
    """Return what is served of *path*, which is a model, a folder of some, or a projector."""
    from pilotlight.models.discovery import Discovery  # noqa: PLC0415
    from pilotlight.models.registry import Claim, Registry  # noqa: PLC0415
    from pilotlight_backend.projectors import is_projector  # noqa: PLC0415

    found = Discovery(settings.models_dir, Registry(only=settings.backends)).scan(configured)
    served = [(one.entry, one.claim) for one in found if isinstance(one.claim, Claim)]
    if names := [entry.name for entry, _ in served if _is_inside(entry.path, path)]:
        return f"served as {', '.join(names)}"
    for one in found:
        if _is_inside(one.entry.path, path):
            return f"cannot be served: {one.claim}"
    if not is_projector(path.name):
        return "cannot be served: no installed backend recognises it"
    names = [entry.name for entry, claim in served if claim.facts.projector == path]
    if not names:
        return "projector of no model here; --name mmproj-MODEL makes it that of MODEL"
    return f"projector of {', '.join(names)}"


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether *path* is *folder* or in it; models.yaml may name it by another path."""
    return path.resolve().is_relative_to(folder.resolve())

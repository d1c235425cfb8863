"""Model files for tests."""

from pathlib import Path

from pilotlight_backend.testing.fake import FakeModel


def put(folder: Path, name: str, **keys: object) -> Path:
    """Write a model at *name* inside *folder*."""
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    return FakeModel(**keys).write(path)

"""Parse YAML as strictly as its specification: without duplicate keys."""

from collections import Counter
from pathlib import Path
from typing import Any

from pilotlight.config import ConfigError


def parse_yaml(text: str, path: Path) -> dict[Any, Any]:
    """Return the map that *text* has, an empty one for an empty text.

    Raises `ConfigError` that names *path*.
    """
    import yaml  # noqa: PLC0415 - most cold starts have no models.yaml

    try:
        # Not the faster CSafeLoader: deep nesting overflows its stack and crashes the process.
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        document = yaml.safe_load(text)
    # The constructors of dates, numbers and booleans raise other errors than YAMLError.
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: invalid YAML: {reason}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a map of names to paths")
    return document


def _refuse_repeated_keys(node: Any, levels: int = 5) -> None:
    """Raise `ValueError` for a duplicate key: YAML forbids it, but PyYAML drops the first.

    The levels are the document, its `models`, the options of a model, the maps among these, and the
    options of an adapter.
    """
    if not levels or getattr(node, "id", None) != "mapping":
        return
    names = Counter(key.value for key, _ in node.value if key.id == "scalar")
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"{name}: duplicate key")
    for _, value in node.value:
        _refuse_repeated_keys(value, levels - 1)

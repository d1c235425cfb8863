"""The command that empties the storage of cached prompts."""

import sys
from pathlib import Path
from typing import Any

from pilotlight.config import ConfigError, load_settings, state_address


def clear_prompt_cache(arguments: dict[str, Any]) -> None:
    """Delete every cached prompt that is stored, and print how many files and bytes that were."""
    from pilotlight_backend.prompt_cache.deletion import delete_states  # noqa: PLC0415

    address = state_address(load_settings(arguments).state_dir)
    if address is None:
        raise ConfigError("--state-dir is not set: expected a folder, gs://… or s3://…")
    try:
        if "://" not in address:
            Path(address).stat()  # a missing folder has no states, but here it is a misspelled path
        deleted = delete_states(address)
    except OSError as error:
        sys.exit(f"pilotlight: --state-dir {address}: {error.strerror or error}")
    files = "1 file" if deleted.files == 1 else f"{deleted.files} files"
    print(f"{address}: deleted {files}, {deleted.size / 1e6:.1f} MB")  # noqa: T201 - a command's output

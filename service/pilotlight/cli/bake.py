"""The command that evaluates a system prompt once."""

import sys
from typing import Any

from pilotlight.config import load_settings


def bake(arguments: dict[str, Any]) -> None:
    """Write a system prompt's state beside its model, and print what it comes to."""
    import asyncio  # noqa: PLC0415

    from pilotlight.errors import ModelNotFound, ServiceError  # noqa: PLC0415
    from pilotlight.generation import baking  # noqa: PLC0415
    from pilotlight.model_options import load_options  # noqa: PLC0415
    from pilotlight.observability.logs import configure_logging  # noqa: PLC0415
    from pilotlight.service import Service  # noqa: PLC0415

    name, file, output = (arguments.pop(key) for key in ("model", "prompt", "output"))
    settings = load_settings(arguments)
    configure_logging(settings)
    try:
        prompt = baking.read_prompt(file)
        service = Service(settings)
        entry = asyncio.run(service.resolver.resolve(name))
        options = load_options(settings, entry)
        done = baking.bake(
            entry,
            service.registry,
            options,
            prompt,
            output=output,
            special_tokens=settings.special_tokens_in_content,
        )
    except ModelNotFound as error:
        meant = f"; did you mean {error.nearest}?" if error.nearest else ";"
        sys.exit(
            f"pilotlight: MODEL: there is no model {name!r}{meant} `pilotlight models` lists the"
            " models"
        )
    except (baking.CannotBake, ServiceError) as error:
        sys.exit(f"pilotlight: {error}")
    print(  # noqa: T201 - a command's output
        f"{done.path}: {done.tokens} tokens, {done.size_bytes / 1e6:.1f} MB,"
        f" in {done.seconds:.1f} s"
    )

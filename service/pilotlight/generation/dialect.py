"""How one loaded model is spoken to: its template, the formats it answers in, its engine."""

import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from pilotlight import __version__
from pilotlight.async_engine import AsyncEngine
from pilotlight.errors import ModelLoadFailed
from pilotlight.models.catalog import template_path
from pilotlight.models.loaded import LoadedModel
from pilotlight.output import reasoning, tool_calls
from pilotlight.prompt.errors import TemplateInvalid

if TYPE_CHECKING:
    from pilotlight.prompt.chat_template import ChatTemplate

logger = logging.getLogger(__name__)


class Dialect(Struct, frozen=True, eq=False, weakref=True):
    """What is known of a model once it is loaded."""

    model: str
    template: "ChatTemplate | None"
    """None where the model cannot chat."""
    reasoning: str | None
    tool_calls: str | None
    engine: AsyncEngine
    fingerprint: str
    """Names what determines the tokens of a seed: this server, the backend, the model."""
    bos_token: str
    """What text that no template rendered is to start with."""


def learn(model: LoadedModel, engine: AsyncEngine) -> Dialect:
    """Read how *model* is spoken to. Compiles a template, so it belongs into a thread."""
    options = model.entry.options
    source = model.facts.chat_template
    if options.chat_template:
        source = read_template(model.entry.path, options.chat_template)
    return Dialect(
        model=model.entry.name,
        template=_compile(model, source) if source else None,
        reasoning=options.reasoning_format or reasoning.detect(source or ""),
        tool_calls=options.tool_call_format or tool_calls.detect(source or ""),
        engine=engine,
        fingerprint=_fingerprint(model),
        bos_token=model.facts.bos_token if model.facts.add_bos else "",
    )


def _compile(model: LoadedModel, source: str) -> "ChatTemplate":
    # Here for the first time jinja2 is imported: the start does without it.
    from pilotlight.prompt.chat_template import ChatTemplate  # noqa: PLC0415

    facts = model.facts
    try:
        return ChatTemplate(source, bos_token=facts.bos_token, eos_token=facts.eos_token)
    except TemplateInvalid as error:
        raise ModelLoadFailed(f"{model.entry.name}: {error}", retry_after=None) from error


def read_template(model: Path, name: str) -> str:
    """Read the template *name*, relative to the folder that *model* is or is in."""
    path = template_path(model, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # The client learns the file's name, and the log where it was looked for.
        logger.exception("cannot read the chat template %s", path)
        raise ModelLoadFailed(
            f"the chat template {path.name!r} cannot be read", retry_after=None
        ) from error


def _fingerprint(model: LoadedModel) -> str:
    identity = f"{__version__}/{model.backend}/{model.facts.name}/{model.facts.size_bytes}"
    return f"fp_{zlib.crc32(identity.encode()):08x}"

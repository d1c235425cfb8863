"""A loaded model prepared for generation: chat template, output formats, engine."""

import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from pilotlight import __version__
from pilotlight.generation.async_engine import AsyncEngine
from pilotlight.models.catalog import SpecialTokens, in_folder_of
from pilotlight.models.loaded import LoadedModel
from pilotlight.output import reasoning, tool_calls
from pilotlight.output.control_tokens import SkippedTokens, skipped_tokens
from pilotlight.prompt.control_tokens import ControlNames
from pilotlight.prompt.errors import TemplateInvalid
from pilotlight.prompt.workarounds import Render, Workaround, required_workarounds
from pilotlight_backend import ModelFacts

if TYPE_CHECKING:
    from pilotlight.prompt.chat_template import ChatTemplate

logger = logging.getLogger(__name__)

NO_NAMES = ControlNames()
NOTHING_SKIPPED = SkippedTokens()


class PreparedModel(Struct, frozen=True, eq=False, weakref=True):
    """What generation needs of a loaded model. Made once for each load."""

    name: str
    template: "ChatTemplate | None"
    """None if the model cannot chat."""
    unusable: str | None
    """Why the model's chat template cannot be used; everything but chat works without it."""
    reasoning_format: str | None
    tool_call_format: str | None
    engine: AsyncEngine
    facts: ModelFacts
    fingerprint: str
    """OpenAI's `system_fingerprint`: identifies this version, the backend and the model."""
    bos_token: str
    """What a text prompt begins with; a chat template writes it itself."""
    workarounds: tuple[Workaround, ...] = ()
    """Applied to every conversation, because the template drops parts silently without them."""
    control_names: ControlNames = NO_NAMES
    """Names of control tokens that stay text in a request's messages."""
    assistant_names: ControlNames = NO_NAMES
    """Those that stay text in assistant content: all but the tags of reasoning."""
    skipped: SkippedTokens = NOTHING_SKIPPED
    """Control tokens that are skipped in the output."""


def prepare(
    model: LoadedModel, engine: AsyncEngine, special: SpecialTokens = "text"
) -> PreparedModel:
    """Prepare *model*. Compiles the chat template, so call it on a thread.

    *special* says how names of special tokens in messages are read, unless models.yaml does.
    """
    options = model.entry.options
    parses = (options.special_tokens_in_content or special) == "parse"
    source, template, unusable = model.facts.chat_template, None, None
    try:
        if options.chat_template:
            source = read_template(model.entry.path, options.chat_template)
        template = _compile(model, source) if source else None
    except (TemplateUnreadable, TemplateInvalid) as error:
        unusable = f"{model.entry.name}: {error}"
        logger.warning("%s; the model serves everything but chat", unusable)
    names = ControlNames(
        () if parses else model.facts.control_names, template.removes if template else ()
    )
    # models.yaml overrides what the template shows.
    reasoning_format = options.reasoning_format or reasoning.detect(source or "")
    call_format = options.tool_call_format or tool_calls.detect(source or "")
    return PreparedModel(
        name=model.entry.name,
        template=template,
        unusable=unusable,
        reasoning_format=reasoning_format,
        tool_call_format=call_format,
        engine=engine,
        facts=model.facts,
        fingerprint=_fingerprint(model),
        bos_token=model.facts.bos_token if model.facts.add_bos else "",
        workarounds=required_workarounds(renderer(template)) if template else (),
        control_names=names,
        assistant_names=_assistant_names(names, reasoning_format),
        skipped=skipped_tokens(model.facts.control_names, reasoning_format, call_format),
    )


def _assistant_names(names: ControlNames, reasoning_format: str | None) -> ControlNames:
    """Return *names* without the two tags of reasoning, if both are control tokens.

    Templates search assistant content for them, in histories with the reasoning in the content.
    Markers that also begin and end turns, such as harmony's, stay text: a user could have the
    model repeat them.
    """
    if reasoning_format is None:
        return names.without(())
    written = reasoning.FORMATS[reasoning_format]
    tags = {written.opening, written.closer}
    return names.without(tags if all(tag in names for tag in tags) else ())


def import_templates() -> None:
    """Import jinja2, which a start does not need."""
    import pilotlight.prompt.chat_template  # noqa: F401, PLC0415


def _compile(model: LoadedModel, source: str) -> "ChatTemplate":
    # Imports jinja2: see `import_templates`.
    from pilotlight.prompt.chat_template import ChatTemplate  # noqa: PLC0415

    facts = model.facts
    return ChatTemplate(source, bos_token=facts.bos_token, eos_token=facts.eos_token)


def renderer(template: "ChatTemplate", *, generation_prompt: bool = True) -> Render:
    """Return a function that renders variables with *template*."""
    return lambda given: template.render(
        given.messages,
        tools=given.tools,
        add_generation_prompt=generation_prompt,
        **given.options,
    )


class TemplateUnreadable(Exception):
    """The chat template that models.yaml names cannot be read."""


def read_template(model: Path, name: str) -> str:
    """Return the template *name*, relative to the folder of *model*.

    Raises `TemplateUnreadable`.
    """
    path = in_folder_of(model, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # The client gets the file's name only, the log its path.
        logger.exception("cannot read the chat template %s", path)
        raise TemplateUnreadable(f"the chat template {path.name!r} cannot be read") from error


def _fingerprint(model: LoadedModel) -> str:
    identity = f"{__version__}/{model.backend}/{model.facts.name}/{model.facts.size_bytes}"
    return f"fp_{zlib.crc32(identity.encode()):08x}"

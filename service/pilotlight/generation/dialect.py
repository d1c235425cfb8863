"""How one loaded model is spoken to: its template, the formats it answers in, its engine."""

import logging
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pilotlight import __version__
from pilotlight.generation.async_engine import AsyncEngine
from pilotlight.models.catalog import SpecialTokens, template_path
from pilotlight.models.loaded import LoadedModel
from pilotlight.output import reasoning, tool_calls
from pilotlight.output.control_tokens import SkippedTokens, skipped_tokens
from pilotlight.prompt.adapting import Adaptation, Conversation, needed
from pilotlight.prompt.errors import TemplateInvalid
from pilotlight.prompt.verbatim import ControlNames

if TYPE_CHECKING:
    from pilotlight.prompt.chat_template import ChatTemplate

logger = logging.getLogger(__name__)

NO_NAMES = ControlNames()
NOTHING_SKIPPED = SkippedTokens()


class Dialect(Struct, frozen=True, eq=False, weakref=True):
    """What is known of a model once it is loaded."""

    model: str
    template: "ChatTemplate | None"
    """None where the model cannot chat."""
    unusable: str | None
    """Why the chat template that there is cannot be used; all but chat works without it."""
    reasoning: str | None
    tool_calls: str | None
    engine: AsyncEngine
    fingerprint: str
    """Names what determines the tokens of a seed: this server, the backend, the model."""
    bos_token: str
    """What text that no template rendered is to start with."""
    adaptations: tuple[Adaptation, ...] = ()
    """What every conversation needs, for the template leaves something out without a word."""
    names: ControlNames = NO_NAMES
    """Names of control tokens that stay text where a request's messages have them."""
    answer_names: ControlNames = NO_NAMES
    """Those of them that stay text in an assistant's content: all but the tags of a thought."""
    skipped: SkippedTokens = NOTHING_SKIPPED
    """Control tokens that are left out of answers."""


def learn(model: LoadedModel, engine: AsyncEngine, special: SpecialTokens = "text") -> Dialect:
    """Read how *model* is spoken to. Compiles a template, so it belongs into a thread.

    *special* says what names of special tokens in messages are, unless models.yaml does.
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
        logger.warning("%s; the model serves all but chat", unusable)
    names = ControlNames(
        () if parses else model.facts.control_names, template.removes if template else ()
    )
    reasoning_format = options.reasoning_format or reasoning.detect(source or "")
    call_format = options.tool_call_format or tool_calls.detect(source or "")
    return Dialect(
        model=model.entry.name,
        template=template,
        unusable=unusable,
        reasoning=reasoning_format,
        tool_calls=call_format,
        engine=engine,
        fingerprint=_fingerprint(model),
        bos_token=model.facts.bos_token if model.facts.add_bos else "",
        adaptations=needed(rendering(template)) if template else (),
        names=names,
        answer_names=_answer_names(names, reasoning_format),
        skipped=skipped_tokens(model.facts.control_names, reasoning_format, call_format),
    )


def _answer_names(names: ControlNames, reasoning_format: str | None) -> ControlNames:
    """Return *names* without the two tags around a thought, where each is a token.

    Templates look for tags in these texts, and take nothing out.

    Templates look for them in a history whose thoughts were not told apart. Markers that write
    turns as well, such as harmony's, stay text: a user can have the model repeat them.
    """
    if reasoning_format is None:
        return names.without(())
    written = reasoning.FORMATS[reasoning_format]
    tags = {written.opening, written.closer}
    return names.without(tags if all(tag in names for tag in tags) else ())


def _compile(model: LoadedModel, source: str) -> "ChatTemplate":
    # Here for the first time jinja2 is imported: the start does without it.
    from pilotlight.prompt.chat_template import ChatTemplate  # noqa: PLC0415

    facts = model.facts
    return ChatTemplate(source, bos_token=facts.bos_token, eos_token=facts.eos_token)


def rendering(
    template: "ChatTemplate",
    variables: Mapping[str, Any] | None = None,
    *,
    generation_prompt: bool = True,
) -> Callable[[Conversation], str]:
    """Return what renders conversations with *template*."""
    return lambda given: template.render(
        given.messages,
        tools=given.tools,
        add_generation_prompt=generation_prompt,
        **(variables or {}),
    )


class TemplateUnreadable(Exception):
    """The file that models.yaml names as a chat template cannot be read."""


def read_template(model: Path, name: str) -> str:
    """Read the template *name*, relative to the folder that *model* is or is in.

    Raises `TemplateUnreadable`.
    """
    path = template_path(model, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # The client learns the file's name, and the log where it was looked for.
        logger.exception("cannot read the chat template %s", path)
        raise TemplateUnreadable(f"the chat template {path.name!r} cannot be read") from error


def _fingerprint(model: LoadedModel) -> str:
    identity = f"{__version__}/{model.backend}/{model.facts.name}/{model.facts.size_bytes}"
    return f"fp_{zlib.crc32(identity.encode()):08x}"

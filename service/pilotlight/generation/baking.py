"""Bakes a system prompt: loads the model and writes the state of the prompt's tokens."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from pilotlight.models.baked import baked_path, template_digest, template_source
from pilotlight.models.catalog import ModelEntry, SpecialTokens
from pilotlight.models.registry import BackendBroken, Registry
from pilotlight.prompt.errors import ChatTemplateError
from pilotlight_backend import (
    BackendError,
    BakedPrompt,
    BakingEngine,
    Engine,
    LoadOptions,
    ModelFacts,
)


class CannotBake(Exception):
    """A prompt cannot be baked; the message is one line."""


class Baking(Struct, frozen=True):
    """The baked prompt: its tokens, the file and its size, and the seconds without loading."""

    tokens: int
    path: Path
    size_bytes: int
    seconds: float


def read_prompt(path: Path) -> str:
    """Return the system prompt in the file at *path*. Raises `CannotBake`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise CannotBake(f"{path}: cannot read the prompt: {reason}") from None
    if not text.strip():
        raise CannotBake(f"{path}: the prompt is empty")
    return text


def bake(
    entry: ModelEntry,
    registry: Registry,
    options: LoadOptions,
    prompt: str,
    *,
    output: Path | None = None,
    special_tokens: SpecialTokens = "text",
    clock: Callable[[], float] = time.perf_counter,
) -> Baking:
    """Prefill the system prompt *prompt* with *entry* and write its state.

    *options* must be those that the model is served with. Raises `CannotBake`.
    """
    path = output or baked_path(entry)
    if not os.access(path.parent, os.W_OK):  # checked before minutes of prefill
        raise CannotBake(f"{path}: the folder does not exist or is not writable")
    try:
        claim = registry.claim(entry.path, entry.options.backend)
        if not claim.facts.generates:
            raise CannotBake(
                f"{entry.name}: only a model that generates text has a system prompt to bake"
            )
        source = _template_source(entry, claim.facts)
        with closing(claim.backend.load(claim.facts, options, lambda _: None)) as engine:
            if not isinstance(engine, BakingEngine):
                raise CannotBake(
                    f"{entry.name}: the backend {claim.backend.name} does not support baking"
                )
            parses = (entry.options.special_tokens_in_content or special_tokens) == "parse"
            tokens = _tokens(source, engine, prompt, parses=parses)
            began = clock()
            count = engine.bake(tokens, BakedPrompt(path=path, template=template_digest(source)))
            return Baking(count, path, path.stat().st_size, clock() - began)
    except (BackendBroken, BackendError, ChatTemplateError) as error:
        raise CannotBake(str(error)) from error
    except OSError as error:
        raise CannotBake(f"{path}: cannot write the file: {error.strerror or error}") from error


def _template_source(entry: ModelEntry, facts: ModelFacts) -> str:
    try:
        source = template_source(entry, facts)
    except (OSError, UnicodeDecodeError) as error:
        raise CannotBake(f"{entry.name}: cannot read its chat template: {error}") from error
    if not source:
        raise CannotBake(f"{entry.name}: a model without a chat template has no system prompt")
    return source


def _tokens(source: str, engine: Engine, prompt: str, *, parses: bool) -> tuple[int, ...]:
    """Return the tokens of *prompt* as they are in requests.

    *parses* says whether names of special tokens in it become those tokens.
    """
    # Imports jinja2, which other commands do not need.
    from pilotlight.prompt.chat_template import ChatTemplate  # noqa: PLC0415
    from pilotlight.prompt.control_tokens import ControlNames, PromptText  # noqa: PLC0415
    from pilotlight.prompt.shared_prefix import CLOCKS, shared_prefix  # noqa: PLC0415

    def tokenize(written: PromptText) -> list[int]:
        return engine.tokenize(written.text, special=True, verbatim=written.spans)

    templates = [
        ChatTemplate(
            source,
            bos_token=engine.facts.bos_token,
            eos_token=engine.facts.eos_token,
            now=clock,
        )
        for clock in CLOCKS
    ]
    names = ControlNames(() if parses else engine.facts.control_names, templates[0].removes)
    return shared_prefix(templates, prompt, tokenize, names)

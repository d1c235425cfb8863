"""A model's own chat template: Jinja as transformers runs it, in a sandbox and within bounds.

The environment is that of transformers' `utils/chat_template_utils.py`: templates are written
against it. A template comes with a model's files, so it is foreign code: it reaches no attribute
that the sandbox forbids, and its loops, calls, numbers and output are bounded. What it may keep in
memory meanwhile is bounded only by these.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.environment import Template
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pilotlight.prompt.errors import (
    ChatTemplateError,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)

MAX_OUTPUT = 16 * 1024 * 1024
"""Characters in a prompt, and in a string or list that an operator makes."""
MAX_STEPS = 200_000
"""Passes of loops and calls of macros in one rendering: less than a second."""
MAX_BITS = 1024
"""Bits in an integer that an operator makes."""

_BUDGET = "pilotlight: budget"  # no identifier, so no template can name it


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._characters = MAX_OUTPUT

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise TemplateFailed(f"the chat template ran for more than {MAX_STEPS} steps")

    def spend(self, piece: str) -> str:
        self._characters -= len(piece)
        if self._characters < 0:
            raise TemplateFailed(f"the chat template wrote more than {MAX_OUTPUT} characters")
        return piece


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what to train on: here, only its body."""

    tags = {"generation"}  # noqa: RUF012 declared so by the base class

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _StepCounter(Extension):
    """Counts each pass of a loop and each call of a macro; a loop that writes nothing counts too.

    Jinja gives control back only with output, so the compiled template itself has to count.
    """

    def count_in(self, template: nodes.Template) -> None:
        """Put the counting call at the start of every loop's and macro's body."""
        bodies = [loop.body for loop in template.find_all(nodes.For)]
        bodies += [macro.body for macro in template.find_all(nodes.Macro)]
        for body in bodies:
            body.insert(0, nodes.ExprStmt(self.call_method("step", lineno=1), lineno=1))

    @pass_context
    def step(self, context: Context) -> None:
        budget: _Budget = context.parent[_BUDGET]
        budget.step()


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, and operators that cannot make huge values out of small ones.

    Jinja computes what is constant when it compiles, except for intercepted operators.
    """

    intercepted_binops = frozenset({"+", "*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute, or raise `TemplateFailed` where the result would be too large."""
        if operator == "**":
            too_large = _bits(left) * abs(right) > MAX_BITS if isinstance(right, int) else False
        elif operator == "*":
            too_large = (
                _size(left) * _count(right) > MAX_OUTPUT
                or _size(right) * _count(left) > MAX_OUTPUT
                or _bits(left) + _bits(right) > MAX_BITS
            )
        else:
            too_large = _size(left) + _size(right) > MAX_OUTPUT
        if too_large:
            raise TemplateFailed(f"the chat template makes too large a value with {operator}")
        return super().call_binop(context, operator, left, right)


def _bits(value: object) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _size(value: object) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple)) else 0


def _tojson(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 templates pass these by position too
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Dump JSON as transformers does: for a model to read, so nothing is escaped for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: object) -> None:
    raise TemplateRefused(str(message))


def _local_now() -> datetime:
    return datetime.now().astimezone()


class ChatTemplate:
    """A template, compiled once; rendering keeps no state, so any thread may do it.

    *now* is the clock of `strftime_now`. Raises `TemplateInvalid`.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str,
        eos_token: str,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[LoopControlExtension, _GenerationTag, _StepCounter],
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: now().strftime(form)
        self._template = _compile(environment, source)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        **variables: Any,
    ) -> str:
        """Return the prompt for *messages*, in the shape of OpenAI's chat request.

        *variables* are the request's own, such as `enable_thinking`; none of them replaces what
        is given otherwise. Raises `TemplateRefused` where the template says why it cannot take
        these messages, and `TemplateFailed`.
        """
        budget = _Budget()
        given = variables | self._tokens
        given |= {"messages": messages, "tools": tools, "documents": variables.get("documents")}
        given |= {"add_generation_prompt": add_generation_prompt, _BUDGET: budget}
        try:
            return "".join(budget.spend(piece) for piece in self._template.generate(given))
        except ChatTemplateError:
            raise
        except Exception as error:  # foreign code: it can raise anything
            reason = f"{type(error).__name__}: {error}"
            raise TemplateFailed(f"the chat template cannot be rendered: {reason}") from error


def _compile(environment: _Environment, source: str) -> Template:
    try:
        tree = environment.parse(source)
        counter = environment.extensions[_StepCounter.identifier]
        assert isinstance(counter, _StepCounter)  # noqa: S101 as registered above
        counter.count_in(tree)
        code = environment.compile(tree)
        return Template.from_code(environment, code, environment.make_globals(None))
    except (TemplateError, ValueError, RecursionError, MemoryError, SyntaxError) as error:
        raise TemplateInvalid(f"the chat template does not compile: {error}") from error

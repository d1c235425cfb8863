"""A model's own chat template: Jinja as transformers runs it, in a sandbox and within bounds.

The environment is that of transformers' `utils/chat_template_utils.py`: templates are written
against it. A template comes with a model's files, so it is foreign code: it reaches no attribute
that the sandbox forbids, and what it uses is bounded, see `bounds`.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, meta, nodes, pass_context
from jinja2.environment import Template
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from pilotlight.prompt.bounds import (
    BUDGET,
    MAX_SOURCE,
    Budget,
    OwnList,
    budget_of,
    comparable,
    held,
    size,
    written_size,
)
from pilotlight.prompt.errors import (
    ChatTemplateError,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)
from pilotlight.prompt.foreseen import (
    bounded_filters,
    bounded_tests,
    check_called,
    check_joined,
    check_json,
    check_operator,
    check_time_format,
    json_is_small,
    json_text,
)
from pilotlight.prompt.text_format import bounded_format

_QUICK_SECONDS = 0.02


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what to train on: here, only its body."""

    tags = {"generation"}  # noqa: RUF012 declared so by the base class

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Bounds(Extension):
    """Counts each pass of a loop and each call of a macro, and what literals and `~` make.

    Jinja gives control back only with output, so the compiled template itself has to count.
    """

    def count_in(self, template: nodes.Template) -> None:
        """Put the counting calls in."""
        _Literals(self).visit(template)
        bodies = [node.body for node in template.find_all(nodes.For)]
        bodies += [node.body for node in template.find_all(nodes.Macro)]
        bodies += [node.body for node in template.find_all(nodes.CallBlock)]
        bodies += [node.body for node in template.find_all(nodes.Block)]
        for body in bodies:
            body.insert(0, nodes.ExprStmt(self.call_method("step", lineno=1), lineno=1))

    @pass_context
    def step(self, context: Context) -> None:
        budget_of(context).step()

    @pass_context
    def made(self, context: Context, value: Any) -> Any:
        size(value)
        return budget_of(context).made(value)

    @pass_context
    def listed(self, context: Context, value: list[Any]) -> Any:
        size(value)
        return budget_of(context).made(OwnList(value))

    @pass_context
    def sliced(self, context: Context, value: Any) -> Any:
        return budget_of(context).made(OwnList(value) if type(value) is list else value)

    def compared(self, value: Any) -> Any:
        return comparable(value)

    @pass_context
    def concat(self, context: Context, *parts: object) -> Any:
        check_joined(parts)
        return budget_of(context).made("".join(map(str, parts)))


class _Literals(NodeTransformer):
    """Has lists that a template writes, and what it joins with `~`, counted."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds = bounds

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the node's name
        self.generic_visit(node)
        return self._bounds.call_method("concat", node.nodes, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - the node's name
        self.generic_visit(node)
        node.expr = self._compared(node.expr)
        for operand in node.ops:
            operand.expr = self._compared(operand.expr)
        return node

    def _compared(self, node: nodes.Expr) -> nodes.Expr:
        return self._bounds.call_method("compared", [node], lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 - the node's name
        self.generic_visit(node)
        return self._bounds.call_method("listed", [node], lineno=node.lineno)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 - the node's name
        # What is assigned to stays: `{% for key, value in … %}`.
        return node if node.ctx == "store" else self._counted(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802 - the node's name
        return self._counted(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - the node's name
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        return self._bounds.call_method("sliced", [node], lineno=node.lineno)

    def _counted(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return self._bounds.call_method("made", [node], lineno=node.lineno)


@pass_context
def _written(context: Context, value: Any) -> Any:
    """Count what is written, in macros and blocks too, whose text a template may keep.

    That it needs the context also keeps Jinja from writing what is constant when it compiles.
    """
    written_size(value)
    return budget_of(context).made(value)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, within bounds. Nothing is computed when it compiles: that would be unbounded."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute, or raise `TemplateFailed` where the result would be too large."""
        check_operator(operator, left, right)
        return budget_of(context).made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, called: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call, or raise `TemplateFailed` where the result would be too large."""
        given = [held(one) for one in arguments]
        fresh = check_called(called, [*given, *named.values()])
        return budget_of(context).made(super().call(context, called, *given, **named), fresh=fresh)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Let a template change lists that it wrote itself, and no other.

        Kimi K2's does, and llama.cpp lets it; what the request has stays as it is.
        """
        if type(obj) is OwnList and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what formats within the bounds where *value* is a string's `format`."""
        return bounded_format(self, value)


def _tojson(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 templates pass these by position too
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Dump JSON as transformers does: for a model to read, so nothing is escaped for HTML."""
    check_json(value, indent, separators, ascii_only=ensure_ascii)
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    # With an indent Python's own encoder writes piece by piece in any case.
    if indent is None and json_is_small(value):
        return encoder.encode(value)
    return json_text(encoder.iterencode(value))


def _from_json(text: str) -> Any:
    """Return the value of JSON in *text*; DeepSeek's templates read arguments so."""
    return json.loads(text)


def _with_thinking(messages: Any) -> Any:
    """Return *messages* with their reasoning under its older name too, as Transformers does.

    gpt-oss's and LFM's templates read that (utils/chat_template_utils.py, _alias_reasoning_fields).
    """
    if not isinstance(messages, Sequence):
        return messages
    return [
        {"thinking": one["reasoning_content"], **one}
        if isinstance(one, Mapping) and one.get("reasoning_content") is not None
        else one
        for one in messages
    ]


def _characters(messages: Any) -> int:
    """Return how many characters the contents have; what is no message counts nothing."""
    given = messages if isinstance(messages, Sequence) else ()
    contents = (one.get("content") for one in given if isinstance(one, Mapping))
    return sum(len(one) for one in contents if isinstance(one, str))


def _strftime(now: datetime, form: Any) -> str:
    check_time_format(form)
    return now.strftime(form)


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
            optimized=False,
            finalize=_written,
            extensions=[LoopControlExtension, _GenerationTag, _Bounds],
        )
        environment.filters |= {"tojson": _tojson, "from_json": _from_json}
        environment.filters = bounded_filters(environment.filters)
        environment.tests.update(bounded_tests(environment.tests))
        del environment.globals["lipsum"]
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: _strftime(now(), form)
        if len(source) > MAX_SOURCE:
            raise TemplateInvalid(
                f"the chat template has {len(source)} characters, {MAX_SOURCE} are the most"
            )
        self._now = now
        self._template, self._reads, self.removes = _compile(environment, source)
        """The last: what it may take out of a request's texts."""
        self.quick = False
        """Whether its latest rendering took so little that an event loop can wait for one."""

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
        budget = Budget(_characters(messages))
        given = self._defaults(tools) | variables | self._tokens
        given |= {
            "messages": _with_thinking(messages),
            "tools": tools,
            "documents": variables.get("documents"),
        }
        given |= {"add_generation_prompt": add_generation_prompt, BUDGET: budget}
        began = time.thread_time()
        self.quick = False
        try:
            text = "".join(budget.spend(piece) for piece in self._template.generate(given))
        except ChatTemplateError:
            raise
        except Exception as error:  # foreign code: it can raise anything
            reason = f"{type(error).__name__}: {error}"
            raise TemplateFailed(f"the chat template cannot be rendered: {reason}") from error
        self.quick = time.thread_time() - began < _QUICK_SECONDS
        return text

    def _defaults(self, tools: Any) -> dict[str, Any]:
        """Return what llama.cpp gives templates beyond Transformers (common/chat.cpp).

        FireFunction's reads its tools as text; others test whether there are `functions`.
        """
        now = self._now()
        given = {"date_string": now.strftime("%d %b %Y"), "datetime": now.strftime("%b %d %Y")}
        if "functions" in self._reads:
            given["functions"] = _tojson(tools, indent=2) if tools else ""
        return {name: value for name, value in given.items() if name in self._reads}


def _compile(
    environment: _Environment, source: str
) -> tuple[Template, frozenset[str], frozenset[str]]:
    """Return the compiled template, the names that it reads unset, and the texts it replaces."""
    try:
        tree = environment.parse(source)
        removes = frozenset(_replaced(tree))
        bounds = environment.extensions[_Bounds.identifier]
        assert isinstance(bounds, _Bounds)  # noqa: S101 as registered above
        bounds.count_in(tree)
        reads = frozenset(meta.find_undeclared_variables(tree))
        code = environment.compile(tree)
        compiled = Template.from_code(environment, code, environment.make_globals(None))
    except (TemplateError, ValueError, RecursionError, MemoryError, SyntaxError) as error:
        raise TemplateInvalid(f"the chat template does not compile: {error}") from error
    return compiled, reads, removes


def _replaced(tree: nodes.Template) -> Iterator[str]:
    """Yield the fixed texts that are given to `replace`, as a method or a filter."""
    found: list[nodes.Call | nodes.Filter]
    found = [*tree.find_all(nodes.Call), *tree.find_all(nodes.Filter)]
    for node in found:
        method = node.node if isinstance(node, nodes.Call) else None
        name = method.attr if isinstance(method, nodes.Getattr) else getattr(node, "name", "")
        if name == "replace" and node.args and isinstance(node.args[0], nodes.Const):
            yield str(node.args[0].value)

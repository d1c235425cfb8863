"""The Jinja environment of chat templates: transformers' own, in a sandbox and within bounds.

A template comes with a model's files, so it is foreign code. Every pass of a loop, every call,
filter, operator and piece of output passes here. What one operation makes is estimated from its
operands and refused when it is too large, because Python cannot be stopped inside it; what all of
them make together, and the CPU time that they take, is counted.
"""

from collections.abc import Callable
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from pilotlight.prompt.sandbox.budget import OwnList, budget_of
from pilotlight.prompt.sandbox.filters import bounded_filters, bounded_tests
from pilotlight.prompt.sandbox.formatting import bounded_format
from pilotlight.prompt.sandbox.json_filters import from_json, tojson
from pilotlight.prompt.sandbox.methods import check_called
from pilotlight.prompt.sandbox.operators import check_joined, check_operator
from pilotlight.prompt.sandbox.sizes import held, readable, size, written_size


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what to train on; only its body is rendered."""

    tags = {"generation"}  # noqa: RUF012 declared so by the base class

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the tag's body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Counting(Extension):
    """Makes a template count its loops, macro calls, literals and `~`.

    Jinja yields control only with output, so the compiled template itself has to count.
    """

    def count_in(self, template: nodes.Template) -> None:
        """Insert the counting calls into *template*."""
        _Literals(self).visit(template)
        bodies = [node.body for node in template.find_all(nodes.For)]
        bodies += [node.body for node in template.find_all(nodes.Macro)]
        bodies += [node.body for node in template.find_all(nodes.CallBlock)]
        bodies += [node.body for node in template.find_all(nodes.Block)]
        for body in bodies:
            body.insert(0, nodes.ExprStmt(self.call_method("step", lineno=1), lineno=1))

    @pass_context
    def step(self, context: Context) -> None:
        """Count a pass or a call."""
        budget_of(context).step()

    @pass_context
    def made(self, context: Context, value: Any) -> Any:
        """Count a tuple or a dict that the template wrote."""
        size(value)
        return budget_of(context).made(value)

    @pass_context
    def listed(self, context: Context, value: list[Any]) -> Any:
        """Count a list that the template wrote, which it may change."""
        size(value)
        return budget_of(context).made(OwnList(value))

    @pass_context
    def sliced(self, context: Context, value: Any) -> Any:
        """Count a slice; a slice of a list is the template's own."""
        return budget_of(context).made(OwnList(value) if type(value) is list else value)

    @pass_context
    def compared(self, context: Context, value: Any) -> Any:
        """Check an operand of a comparison."""
        budget_of(context).check_time()
        return readable(value)

    @pass_context
    def concat(self, context: Context, *parts: object) -> Any:
        """Join *parts*, as `~` does."""
        check_joined(parts)
        return budget_of(context).made("".join(map(str, parts)))


class _Literals(NodeTransformer):
    """Wraps literals, slices, comparisons and `~` in counting calls."""

    def __init__(self, bounds: Counting) -> None:
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
        # A target of an assignment stays as it is: `{% for key, value in … %}`.
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
    """Count every value that is written, in macros and blocks too, whose text a template may keep.

    Because it needs the context, Jinja cannot evaluate constants when it compiles.
    """
    written_size(value)
    return budget_of(context).made(value)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox within limits."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return the result; raises `TemplateExceeded` if it would be too large."""
        check_operator(operator, left, right)
        return budget_of(context).made(super().call_binop(context, operator, left, right))

    def call(self, context: Context, called: Any, /, *arguments: Any, **named: Any) -> Any:
        """Return the result; raises `TemplateExceeded` if it would be too large."""
        given = [held(one) for one in arguments]
        fresh = check_called(called, [*given, *named.values()])
        return budget_of(context).made(super().call(context, called, *given, **named), fresh=fresh)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return the item; an error about a missing one writes *argument*."""
        return super().getitem(obj, readable(argument))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow `append` and `pop` on lists that the template wrote itself, and on no other.

        Kimi K2's template appends, and llama.cpp allows it. Lists of the request stay unchanged.
        """
        if type(obj) is OwnList and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a bounded replacement for a string's `format`."""
        return bounded_format(self, value)


def make_environment() -> TemplateEnvironment:
    """Return an environment with the filters and tests that a template may use, and no `lipsum`."""
    environment = TemplateEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        # Constants are evaluated at compile time otherwise, where nothing is counted.
        optimized=False,
        finalize=_written,
        extensions=[LoopControlExtension, _GenerationTag, Counting],
    )
    environment.filters |= {"tojson": tojson, "from_json": from_json}
    environment.filters = bounded_filters(environment.filters)
    environment.tests.update(bounded_tests(environment.tests))
    del environment.globals["lipsum"]
    return environment

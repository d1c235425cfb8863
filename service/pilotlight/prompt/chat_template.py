"""A model's chat template: Jinja with transformers' environment, in a sandbox.

Templates are written for the environment of transformers' `utils/chat_template_utils.py`. They come
with a model's files and are untrusted: see `sandbox`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.environment import Template

from pilotlight.prompt.errors import (
    ChatTemplateError,
    TemplateFailed,
    TemplateInvalid,
    TemplateRefused,
)
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.budget import BUDGET, Budget
from pilotlight.prompt.sandbox.environment import Counting, TemplateEnvironment, make_environment
from pilotlight.prompt.sandbox.formatting import check_time_format
from pilotlight.prompt.sandbox.json_filters import tojson
from pilotlight.prompt.sandbox.sizes import written_size

_QUICK_SECONDS = 0.02
"""CPU time of a rendering up to which the next one may run on the event loop."""


def _with_thinking(messages: Any) -> Any:
    """Return *messages* with reasoning under its older name `thinking` too, as transformers does.

    gpt-oss's and LFM's templates read it (utils/chat_template_utils.py, _alias_reasoning_fields).
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
    """Return the number of characters in the messages' contents."""
    given = messages if isinstance(messages, Sequence) else ()
    contents = (one.get("content") for one in given if isinstance(one, Mapping))
    return sum(len(one) for one in contents if isinstance(one, str))


def _strftime(now: datetime, form: Any) -> str:
    check_time_format(form)
    return now.strftime(form)


def _raise_exception(message: object) -> None:
    written_size(message)
    raise TemplateRefused(str(message))


def _local_now() -> datetime:
    return datetime.now().astimezone()


class ChatTemplate:
    """A compiled template. Rendering is stateless, so safe for threads.

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
        environment = make_environment()
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: _strftime(now(), form)
        if len(source) > limits.MAX_SOURCE:
            raise TemplateInvalid(
                f"the chat template has {len(source)} characters; at most {limits.MAX_SOURCE}"
            )
        self._now = now
        self._template, self._reads, self.removes = _compile(environment, source)
        """*removes* are the texts that the template may remove from a request's texts."""
        self.quick = False
        """Whether the latest rendering was fast enough for the event loop."""

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

        *variables* are the request's own, such as `enable_thinking`; they do not replace the
        others. Raises `TemplateRefused` if the template calls `raise_exception`, and
        `TemplateFailed`.
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
        except Exception as error:  # untrusted code can raise anything
            reason = f"{type(error).__name__}: {error}"
            raise TemplateFailed(f"the chat template failed: {reason}") from error
        self.quick = time.thread_time() - began < _QUICK_SECONDS
        return text

    def _defaults(self, tools: Any) -> dict[str, Any]:
        """Return the variables that llama.cpp adds to transformers' (common/chat.cpp).

        FireFunction's template reads tools as text; others test whether there are `functions`.
        """
        now = self._now()
        given = {"date_string": now.strftime("%d %b %Y"), "datetime": now.strftime("%b %d %Y")}
        if "functions" in self._reads:
            given["functions"] = tojson(tools, indent=2) if tools else ""
        return {name: value for name, value in given.items() if name in self._reads}


def _compile(
    environment: TemplateEnvironment, source: str
) -> tuple[Template, frozenset[str], frozenset[str]]:
    """Return the compiled template, the variables that it reads, and the texts that it replaces."""
    try:
        tree = environment.parse(source)
        removes = frozenset(_replaced(tree))
        bounds = environment.extensions[Counting.identifier]
        assert isinstance(bounds, Counting)  # noqa: S101 as registered above
        bounds.count_in(tree)
        reads = frozenset(meta.find_undeclared_variables(tree))
        code = environment.compile(tree)
        compiled = Template.from_code(environment, code, environment.make_globals(None))
    except (TemplateError, ValueError, RecursionError, MemoryError, SyntaxError) as error:
        raise TemplateInvalid(f"the chat template does not compile: {error}") from error
    return compiled, reads, removes


def _replaced(tree: nodes.Template) -> Iterator[str]:
    """Yield the literals passed to `replace`, the method or the filter."""
    found: list[nodes.Call | nodes.Filter]
    found = [*tree.find_all(nodes.Call), *tree.find_all(nodes.Filter)]
    for node in found:
        method = node.node if isinstance(node, nodes.Call) else None
        name = method.attr if isinstance(method, nodes.Getattr) else getattr(node, "name", "")
        if name == "replace" and node.args and isinstance(node.args[0], nodes.Const):
            yield str(node.args[0].value)

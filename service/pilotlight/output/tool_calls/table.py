"""The table of formats: which models write calls in which way, and how to tell."""

# ruff: noqa: RUF001 -- DeepSeek's tokens have these characters
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from pilotlight.output.tool_calls.gemma_call import GemmaCall
from pilotlight.output.tool_calls.gemma_grammar import gemma_grammar
from pilotlight.output.tool_calls.header_call import (
    NAME,
    OBJECT,
    SPACES,
    WORD,
    HarmonyCall,
    HeaderShape,
    MistralCall,
    form,
)
from pilotlight.output.tool_calls.json_call import JsonShape, closed_by
from pilotlight.output.tool_calls.lark import Function, GrammarWriter, Layout, literal
from pilotlight.output.tool_calls.reader import END, CallReader, ReaderFactory, Schemas, Tail
from pilotlight.output.tool_calls.trigger import Trigger, open_rules
from pilotlight.output.tool_calls.xml_call import Tags
from pilotlight.output.tool_calls.xml_grammar import XmlLayout


class Format(Struct, frozen=True):
    """One way to write calls."""

    name: str
    signs: tuple[tuple[str, ...], ...]
    """The chat template of a model that writes this format contains all strings of one of these,"""
    lacks: tuple[str, ...]
    """and none of these, which are signs of others."""
    openers: tuple[str, ...]
    """Each begins a call wherever it is in content."""
    reader: ReaderFactory
    grammar: GrammarWriter
    """How a call is written, for constrained decoding."""
    triggers: tuple[Trigger, ...]
    """What begins a call in free text, as the readers have it."""
    never: str = ""
    """An expression of what readers take for a call and the grammar cannot go on from, where
    content begins or behind an opener; `$names` stands for the functions'."""
    goes_on: bool = True
    """Whether text may follow a call; not where a separator would be such text."""
    start: str | None = None
    """Begins a call too where the answer begins with it, whitespace aside; any text does "" ."""

    @property
    def markers(self) -> frozenset[str]:
        """The openers behind which the grammar holds, so that nothing but a call can follow."""
        fixed = {one.marker for one in self.triggers if not one.expression}
        return frozenset(self.openers) & fixed

    def open_grammar(
        self, functions: Sequence[Function], *, parallel: bool, closer: str = ""
    ) -> str:
        """Write the rules of `tool_auto`: free text, that may go over into calls.

        *closer* is what ends a thought before the content, in the format of the model's thoughts.
        """
        rules = open_rules(
            self.triggers,
            self.never,
            functions,
            goes_on=self.goes_on and parallel,
            closer=closer,
        )
        return rules + self.grammar(functions, parallel=parallel)

    def written_by(self, chat_template: str) -> bool:
        """Tell whether a model with this template writes the format, as far as is seen."""
        return any(
            all(word in chat_template for word in words) for words in self.signs
        ) and not any(word in chat_template for word in self.lacks)


_CALL_BEGIN = "<｜tool▁call▁begin｜>"
_CALLS_BEGIN = "<｜tool▁calls▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"


def _deepseek(name: str, signs: tuple[str, ...], lacks: tuple[str, ...], layout: Layout) -> Format:
    """DeepSeek's two ways differ in the header alone, and are both read for either."""
    end = closed_by(_CALLS_END)
    call_end = Tail({_CALL_END: end, _CALLS_END: END})
    headers = (
        form(SPACES, NAME, _SEPARATOR, SPACES, OBJECT),
        form(SPACES, "function", _SEPARATOR, SPACES, NAME, SPACES, "```json"),
    )
    begun = tuple(
        form(SPACES, _CALL_BEGIN, *parts)
        for parts in (
            (SPACES, NAME, _SEPARATOR, SPACES, OBJECT),
            (SPACES, "function", _SEPARATOR, SPACES, NAME, SPACES, "```json"),
        )
    )
    shape = HeaderShape(headers + begun, Tail({"```": call_end} | dict(call_end.closers)))
    return Format(
        name,
        signs=(signs,),
        lacks=lacks,
        openers=(_CALLS_BEGIN, _CALL_BEGIN),
        reader=shape.reader,
        grammar=layout.grammar,
        triggers=(
            Trigger(_CALLS_BEGIN, then=f"{literal(_CALL_BEGIN)} tool_rest"),
            Trigger(_CALL_BEGIN),
        ),
    )


def _harmony_reader(opener: str, schemas: Schemas | None) -> CallReader:
    shape = HeaderShape((), closed_by("<|call|>", "<|end|>", "<|return|>"))
    return HarmonyCall(shape, opener, schemas)


def _gemma_reader(opener: str, schemas: Schemas | None) -> CallReader:
    return GemmaCall(closed_by("<tool_call|>"), opener, schemas)


# In free text a header is a call where it names a function; see `HarmonyCall`.
_HARMONY_HEADER = r"(<\|start\|>|<\|channel\|>)([^<]|<[^|]|<\|[^m])*to="
_RECIPIENT = '("<|channel|>commentary to=functions." | " to=functions.")'

# A bare object is a call by the name of a listed function, which its members may stand before.
_BARE = r'\{\s*"name"\s*:\s*"$name"\s*,\s*"parameters"\s*:'
_OTHER_BARE = (
    r'\{(\s*"(type|id)"\s*:\s*("[^"]*"|[^"\[{,]*),)*'
    r'\s*("name"\s*:\s*"($names)"|"(parameters|arguments)"\s*:|"(type|id)"\s*:\s*[\[{])'
)

_OBJECT = '{"name": "$name", "arguments": '

_ROWS = (
    # openai/gpt-oss chat_template.jinja; llama.cpp common/parsers/gpt-oss.cpp
    Format(
        "harmony",
        signs=(("<|channel|>", "<|message|>"),),
        lacks=(),
        openers=("<|start|>", "<|channel|>"),
        start="to=",
        reader=_harmony_reader,
        grammar=Layout(
            opener=f'("<|start|>assistant")? {_RECIPIENT}',
            before=(
                "$name",
                '(" <|constrain|>json<|message|>" | "<|channel|>commentary json<|message|>")',
            ),
            between=f'"<|call|><|start|>assistant" {_RECIPIENT}',
            # Where the model has a token for it, this ends the answer.
            closing='("<|call|>")?',
        ).grammar,
        triggers=(
            Trigger(_HARMONY_HEADER + r"functions\.", expression=True),
            Trigger(r"to=functions\.", expression=True, anywhere=False),
        ),
        never=rf"((?s:.*){_HARMONY_HEADER}|to=)($names)[\s<]",
    ),
    # llama.cpp models/templates/gemma4.jinja, common/parsers/gemma4.cpp
    Format(
        "gemma4",
        signs=(("<|tool_call>", "call:"),),
        lacks=(),
        openers=("<|tool_call>",),
        reader=_gemma_reader,
        grammar=gemma_grammar,
        triggers=(Trigger("<|tool_call>"),),
    ),
    # llama.cpp models/templates/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja, …-V3.1.jinja
    _deepseek(
        "deepseek_v3",
        (_CALL_BEGIN, "```json"),
        (),
        Layout(
            opener=literal(_CALLS_BEGIN + _CALL_BEGIN),
            before=(f"function{_SEPARATOR}$name\n```json\n",),
            after=literal("\n```" + _CALL_END),
            between=literal("\n" + _CALL_BEGIN),
            closing=literal(_CALLS_END),
        ),
    ),
    _deepseek(
        "deepseek_v3_1",
        (_CALL_BEGIN,),
        ("```json",),
        Layout(
            opener=literal(_CALLS_BEGIN + _CALL_BEGIN),
            before=(f"$name{_SEPARATOR}",),
            after=literal(_CALL_END),
            between=literal(_CALL_BEGIN),
            closing=literal(_CALLS_END),
        ),
    ),
    # llama.cpp models/templates/CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja
    Format(
        "command_a",
        signs=(("<|START_ACTION|>",),),
        lacks=(),
        openers=("<|START_ACTION|>",),
        reader=JsonShape(
            name_key="tool_name",
            arguments_keys=("parameters",),
            listed="maybe",
            closers=closed_by("<|END_ACTION|>"),
        ).reader,
        grammar=Layout(
            opener=literal("<|START_ACTION|>"),
            opening=literal("[\n    "),
            before=(
                '{"tool_call_id": "',
                "/[0-9]{1,3}/",
                '", "tool_name": "$name", "parameters": ',
            ),
            after=literal("}"),
            between=literal(",\n    "),
            closing=literal("\n]<|END_ACTION|>"),
        ).grammar,
        triggers=(Trigger("<|START_ACTION|>"),),
    ),
    # The template `tool_use` of CohereForAI/c4ai-command-r-v01 and -plus
    Format(
        "command_r",
        signs=(("<|START_OF_TURN_TOKEN|>", "Action:"),),
        lacks=("<|START_ACTION|>",),
        openers=("Action:",),
        reader=JsonShape(
            name_key="tool_name",
            arguments_keys=("parameters",),
            lead="```json",
            listed="maybe",
            closers=closed_by("```"),
        ).reader,
        grammar=Layout(
            opener=literal("Action: ```json"),
            opening=literal("\n[\n    "),
            before=('{\n        "tool_name": "$name",\n        "parameters": ',),
            after=literal("\n    }"),
            between=literal(",\n    "),
            closing=literal("\n]```"),
        ).grammar,
        triggers=(Trigger(r"Action:[ \t\r\n]*```json", expression=True),),
    ),
    # mistral-common, tokenizers v3 and v7; llama.cpp common/chat.cpp, "Mistral Nemo"
    Format(
        "mistral",
        signs=(("[TOOL_CALLS]",),),
        lacks=("[ARGS]",),
        openers=("[TOOL_CALLS]",),
        reader=MistralCall,
        grammar=Layout(
            opener='"[TOOL_CALLS]"',
            opening='" "? "["',
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]"),
        ).grammar,
        triggers=(Trigger("[TOOL_CALLS]"),),
    ),
    # mistral-common, tokenizers v11 and later; llama.cpp common/parsers/ministral3.cpp
    Format(
        "mistral_v11",
        signs=(("[TOOL_CALLS]", "[ARGS]"),),
        lacks=(),
        openers=("[TOOL_CALLS]",),
        reader=MistralCall,
        # As mistral-common's own grammars, without the id of a call.
        grammar=Layout(
            opener='"[TOOL_CALLS]"', before=("$name[ARGS]",), between='"[TOOL_CALLS]"'
        ).grammar,
        triggers=(Trigger("[TOOL_CALLS]"),),
    ),
    # llama.cpp common/parsers/functionary-v3-2.cpp: the prompt ends with `>>>`
    Format(
        "functionary_v3_2",
        signs=((">>>all",),),
        lacks=(),
        openers=(">>>",),
        start="",
        reader=HeaderShape((form(WORD, "\n"),), content="all", listed=True).reader,
        grammar=Layout(opener='">>>"?', before=("$name\n",), between='">>>"').grammar,
        triggers=(Trigger(">>>$name\n"), Trigger("$name\n", anywhere=False)),
    ),
    # MeetKai/functionary tests/prompt_test_v3-llama3.1.txt
    Format(
        "functionary_v3_1",
        signs=(("<|start_header_id|>", "<function="),),
        lacks=("<tool_call>", ">>>all"),
        openers=("<function=",),
        reader=HeaderShape((form(NAME, ">"),), closed_by("</function>"), listed=True).reader,
        grammar=Layout(
            before=("<function=$name>",), after='"</function>"', between=r'"\n"?'
        ).grammar,
        triggers=(Trigger("<function=$name>"),),
    ),
    # Qwen/Qwen3-Coder chat_template.jinja; llama.cpp common/parsers/qwen3-coder.cpp: the first
    # tag is left out at times
    Format(
        "qwen3_coder",
        signs=(("<tool_call>", "<function="),),
        lacks=(),
        openers=("<tool_call>", "<function="),
        reader=Tags(
            name="<function=",
            name_end=">",
            key="<parameter=",
            key_end=">",
            value="",
            value_end="</parameter>",
            ends=("</function>",),
            lines=True,
            tail=closed_by("</tool_call>"),
        ).reader,
        grammar=XmlLayout(
            opener="<tool_call>",
            before="\n<function=$name>\n",
            key="<parameter=$key>\n",
            line="\n",
            value_end="</parameter>",
            after_value="\n",
            after="</function>\n</tool_call>",
            between="\n",
        ).grammar,
        triggers=(
            Trigger("<tool_call>"),
            Trigger(r"<function=\s*$name>", expression=True, then=r'"\n" $body'),
        ),
    ),
    # zai-org/GLM-4.5 chat_template.jinja, in llama.cpp models/templates/glm_4_5.jinja
    Format(
        "glm4",
        signs=(("<tool_call>", "<arg_key>"),),
        lacks=("<function=",),
        openers=("<tool_call>",),
        reader=Tags(
            name="",
            name_end="",
            key="<arg_key>",
            key_end="</arg_key>",
            value="<arg_value>",
            value_end="</arg_value>",
            ends=("</tool_call>",),
            lines=False,
        ).reader,
        grammar=XmlLayout(
            opener="<tool_call>",
            before="$name\n",
            key="<arg_key>$key</arg_key>\n<arg_value>",
            line="",
            value_end="</arg_value>",
            after_value="\n",
            after="</tool_call>",
            between="\n",
        ).grammar,
        triggers=(Trigger("<tool_call>"),),
    ),
    # ibm-granite/granite-3.x: the token; vLLM's granite_tool_parser.py: the string of 3.1
    Format(
        "granite",
        signs=(
            ("<|start_of_role|>", "<|tool_call|>"),
            ("<|start_of_role|>", "<tool_call>", "JSON list"),
        ),
        lacks=("</tool_call>",),
        openers=("<|tool_call|>", "<tool_call>"),
        reader=JsonShape(listed="always", closers=closed_by("</tool_call>")).reader,
        grammar=Layout(
            opener='("<|tool_call|>" | "<tool_call>")',
            opening='"["',
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]"),
        ).grammar,
        triggers=(Trigger("<|tool_call|>"), Trigger("<tool_call>")),
    ),
    # microsoft/Phi-4-mini-instruct; llama.cpp models/templates/llama-cpp-microsoft-Phi-4-mini-
    # instruct.jinja; vLLM's phi4mini_tool_parser.py and its template: `functools[…]`
    Format(
        "phi4_mini",
        signs=(("<|/tool_call|>",), ("<|/tool|>",), ("<|system|>", "functools[")),
        lacks=(),
        openers=("<|tool_call|>", "functools"),
        reader=JsonShape(
            arguments_keys=("arguments", "parameters"),
            listed="maybe",
            closers=closed_by("<|/tool_call|>"),
        ).reader,
        grammar=Layout(
            opener=literal("<|tool_call|>["),
            before=(_OBJECT,),
            after=literal("}"),
            between=literal(", "),
            closing=literal("]<|/tool_call|>"),
        ).grammar,
        triggers=(
            Trigger("<|tool_call|>", then='"[" tool_rest'),
            Trigger(r"functools\s*\[", expression=True),
        ),
        never=r"(?s:.*)functools\s*\{",
    ),
    # meta-llama/Llama-3.1 and 3.2 chat templates; vLLM's llama_tool_parser.py: `;` between calls
    Format(
        "llama3_json",
        signs=(("<|start_header_id|>", '"parameters": '),),
        lacks=("<tool_call>", "<function=", ">>>all", "functools["),
        openers=("<|python_tag|>",),
        start="{",
        reader=JsonShape(
            arguments_keys=("parameters", "arguments"),
            separators=(";",),
            bare=("{", ";"),
            bare_keys=("type", "id"),
        ).reader,
        grammar=Layout(
            opener='("<|python_tag|>")?',
            before=('{"name": "$name", "parameters": ',),
            after=literal("}"),
            between=literal("; "),
        ).grammar,
        triggers=(
            Trigger(rf"<\|python_tag\|>\s*{_BARE}", then='" "? $body', expression=True),
            Trigger(_BARE, then='" "? $body', expression=True, anywhere=False),
        ),
        never=rf"((?s:.*)<\|python_tag\|>\s*\{{|{_OTHER_BARE})",
        goes_on=False,
    ),
    # NousResearch/Hermes-2-Pro, Qwen/Qwen2.5 and Qwen3 chat templates
    Format(
        "hermes",
        signs=(("<tool_call>",),),
        # Others put XML or lists behind the same tag.
        lacks=("<function=", "<arg_key>", "JSON list"),
        openers=("<tool_call>",),
        reader=JsonShape(closers=closed_by("</tool_call>")).reader,
        grammar=Layout(
            opener=literal("<tool_call>"),
            before=(f"\n{_OBJECT}",),
            after=literal("}\n</tool_call>"),
            between=literal("\n<tool_call>"),
        ).grammar,
        triggers=(Trigger("<tool_call>"),),
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this template writes, if one is seen."""
    for name, row in FORMATS.items():
        if row.written_by(chat_template):
            return name
    return None

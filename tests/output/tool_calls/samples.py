"""What models write in each format, and what it means."""

# ruff: noqa: RUF001 -- DeepSeek's tokens have these characters
from typing import Any, NamedTuple

from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart

SCHEMAS: dict[str, dict[str, Any]] = {
    "weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["c", "f"]},
            "exact": {"type": "boolean"},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
    "note": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "place": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "at": {"$ref": "#/$defs/point"}},
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        "required": ["text"],
        "additionalProperties": False,
        "$defs": {"point": {"type": "array", "items": {"type": "number"}}},
    },
    "ping": {"type": "object", "properties": {}, "additionalProperties": False},
}


class Sample(NamedTuple):
    """One answer: its text, the events it means, whether an announced call was cut."""

    text: str
    events: list[ContentDelta | ToolCallStart | ToolCallArguments]
    cut: bool = False


def c(text):
    return ContentDelta(text)


def call(index, name, arguments):
    start = ToolCallStart(index, f"call_{index}", name)
    return [start, ToolCallArguments(index, arguments)] if arguments else [start]


WEATHER = '{"city": "Bern", "days": 2}'
UNICODE = '{"text": "é \\"🌦\\" \\n}\\u00e9<|x|>[/]", "tags": ["ü", ""]}'
ODD = 'é "🌦" \\n}</x>[/] <| '
ODD_JSON = '{"text": "é \\"🌦\\" \\\\n}</x>[/] <| "}'


LLAMA = {
    "one": Sample(
        '{"name": "weather", "parameters": ' + WEATHER + "}", call(0, "weather", WEATHER)
    ),
    "tag": Sample(
        '<|python_tag|>{"name": "weather", "parameters": ' + WEATHER + "}",
        call(0, "weather", WEATHER),
    ),
    "type-first": Sample(
        '\n{"type": "function", "name": "ping", "parameters": {}}',
        call(0, "ping", "{}"),
    ),
    "parameters-first": Sample(
        '{"parameters": ' + WEATHER + ', "name": "weather"}',
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '{"name": "weather", "parameters": ' + WEATHER + '}; {"name": "ping", "parameters": {}}',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "tag-several": Sample(
        '<|python_tag|>{"name": "ping", "parameters": {}};{"name": "ping", "parameters": {}};\n'
        '{"name": "ping", "parameters": {}}',
        [*call(0, "ping", "{}"), *call(1, "ping", "{}"), *call(2, "ping", "{}")],
    ),
    "before-tag": Sample(
        'Let me see.\n<|python_tag|>{"name": "ping", "parameters": {}}',
        [c("Let me see."), *call(0, "ping", "{}")],
    ),
    "after": Sample(
        '{"name": "ping", "parameters": {}}; or so',
        [*call(0, "ping", "{}"), c("; or so")],
    ),
    "unicode": Sample('{"name": "note", "parameters": ' + UNICODE + "}", call(0, "note", UNICODE)),
    "text": Sample("Sunny {so} I think.\n", [c("Sunny {so} I think.\n")]),
    "later-object": Sample(
        'See: {"name": "ping", "parameters": {}}', [c('See: {"name": "ping", "parameters": {}}')]
    ),
    "json-answer": Sample('{"name": "Ann", "age": 3}', [c('{"name": "Ann", "age": 3}')]),
    "json-known-name": Sample('{"name": "ping"}', [c('{"name": "ping"}')]),
    "unlisted": Sample(
        '{"name": "other", "parameters": {}}', [c('{"name": "other", "parameters": {}}')]
    ),
    "no-object": Sample(
        '{"name": "ping", "parameters": "x"}', [c('{"name": "ping", "parameters": "x"}')]
    ),
    "empty-object": Sample(" {} ", [c(" {} ")]),
    "code": Sample("<|python_tag|>print(1)", [c("<|python_tag|>print(1)")]),
    "cut-name": Sample('{"name": "pi', [c('{"name": "pi')]),
    "cut": Sample(
        '{"name": "weather", "parameters": {"city": "Be',
        call(0, "weather", '{"city": "Be'),
        cut=True,
    ),
    "broken": Sample(
        '<|python_tag|>{"name": "ping", "parameters": {]}',
        [*call(0, "ping", "{"), c("]}")],
        cut=True,
    ),
}

CODER = {
    "one": Sample(
        "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        "<tool_call>\n<function=ping>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=ping>\n</function>\n</tool_call>",
        [*call(0, "ping", "{}"), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.\n\n<tool_call>\n<function=ping></function></tool_call>\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "no-first-tag": Sample(
        "Well.\n<function=ping>\n</function>\n</tool_call>", [c("Well."), *call(0, "ping", "{}")]
    ),
    "unlisted-without-tag": Sample(
        "Write <function=other>\n</function>.", [c("Write <function=other>\n</function>.")]
    ),
    "unlisted": Sample(
        "<tool_call>\n<function=other>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>",
        call(0, "other", '{"n": 5}'),
    ),
    "odd-string": Sample(
        f"<tool_call>\n<function=note>\n<parameter=text>\n{ODD}\n</parameter>\n</function>\n"
        "</tool_call>",
        call(0, "note", ODD_JSON),
    ),
    "lines": Sample(
        "<tool_call>\n<function=note>\n<parameter=text>\n\n a\n\n</parameter>\n</function>",
        call(0, "note", '{"text": "\\n a\\n"}'),
    ),
    "no-lines": Sample(
        "<tool_call><function=note><parameter=text>a</parameter></function></tool_call>",
        call(0, "note", '{"text": "a"}'),
    ),
    "string-like-number": Sample(
        "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n</function>",
        call(0, "weather", '{"city": "12"}'),
    ),
    "types": Sample(
        "<tool_call>\n<function=weather>\n<parameter=city>\n\n</parameter>\n"
        "<parameter=exact>\nTrue\n</parameter>\n<parameter=unit>\nc\n</parameter>\n"
        "<parameter=days>\nmany\n</parameter>\n</function>\n</tool_call>",
        call(0, "weather", '{"city": "", "exact": true, "unit": "c", "days": "many"}'),
    ),
    "nested": Sample(
        '<tool_call>\n<function=note>\n<parameter=text>\nx\n</parameter>\n<parameter=tags>\n["a",'
        ' "<b>"]\n</parameter>\n<parameter=place>\n{"name": "é", "at": [1, 2.5]}\n</parameter>\n'
        "</function>\n</tool_call>",
        call(
            0,
            "note",
            '{"text": "x", "tags": ["a", "<b>"], "place": {"name": "é", "at": [1, 2.5]}}',
        ),
    ),
    "text": Sample("a <tool and <func\n", [c("a <tool and <func\n")]),
    "tag-only": Sample("Use <tool_call> and so on", [c("Use <tool_call> and so on")]),
    "json-inside": Sample(
        '<tool_call>{"name": "ping"}</tool_call>', [c('<tool_call>{"name": "ping"}</tool_call>')]
    ),
    "no-name": Sample(
        "<tool_call><function=></function>", [c("<tool_call><function=></function>")]
    ),
    "cut-name": Sample("<tool_call>\n<function=weat", [c("<tool_call>\n<function=weat")]),
    "cut-string": Sample(
        "<tool_call>\n<function=note>\n<parameter=text>\nab\n</para",
        call(0, "note", '{"text": "ab\\n</para'),
        cut=True,
    ),
    "cut-number": Sample(
        "<tool_call>\n<function=weather>\n<parameter=days>\n12",
        call(0, "weather", '{"days": 12'),
        cut=True,
    ),
    "broken": Sample(
        "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\noops\n</function>",
        [*call(0, "weather", '{"city": "Bern"'), c("oops\n</function>")],
        cut=True,
    ),
}

MISTRAL = {
    "one": Sample(
        '[TOOL_CALLS][{"name": "weather", "arguments": ' + WEATHER + "}]",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '[TOOL_CALLS] [{"name": "weather", "arguments": ' + WEATHER + ', "id": "abcdefghi"}, '
        '{"name": "ping", "arguments": {}}]',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        'I look.\n[TOOL_CALLS][{"name": "ping", "arguments": {}}]\n Done.\n',
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        '[TOOL_CALLS][{"name": "note", "arguments": ' + UNICODE + "}]", call(0, "note", UNICODE)
    ),
    "no-end": Sample('[TOOL_CALLS][{"name": "ping", "arguments": {}}', call(0, "ping", "{}")),
    "text": Sample("see [TOOL] and [TOOL_C\n", [c("see [TOOL] and [TOOL_C\n")]),
    "tag-only": Sample("The [TOOL_CALLS] is a tag", [c("The [TOOL_CALLS] is a tag")]),
    "empty-list": Sample("[TOOL_CALLS][]", [c("[TOOL_CALLS][]")]),
    "cut": Sample(
        '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Be',
        call(0, "weather", '{"city": "Be'),
        cut=True,
    ),
    "cut-name": Sample('[TOOL_CALLS][{"name": "we', [c('[TOOL_CALLS][{"name": "we')]),
    "second-cut": Sample(
        '[TOOL_CALLS][{"name": "ping", "arguments": {}}, {"na',
        [*call(0, "ping", "{}"), c(', {"na')],
    ),
    "broken": Sample(
        '[TOOL_CALLS][{"name": "ping", "arguments": {"a": 1]}]',
        [*call(0, "ping", '{"a": 1'), c("]}]")],
        cut=True,
    ),
}

MISTRAL_V11 = {
    "one": Sample("[TOOL_CALLS]weather[ARGS]" + WEATHER, call(0, "weather", WEATHER)),
    "several": Sample(
        "[TOOL_CALLS]weather[ARGS]" + WEATHER + "[TOOL_CALLS]ping[ARGS]{}",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "id": Sample("[TOOL_CALLS]ping[CALL_ID]abcdefghi[ARGS]{}", call(0, "ping", "{}")),
    "no-args-token": Sample("[TOOL_CALLS]ping{}", call(0, "ping", "{}")),
    "around": Sample(
        "I look.\n[TOOL_CALLS]ping[ARGS]{}\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample("[TOOL_CALLS]note[ARGS]" + UNICODE, call(0, "note", UNICODE)),
    "list": Sample('[TOOL_CALLS][{"name": "ping", "arguments": {}}]', call(0, "ping", "{}")),
    "text": Sample("no call [ARGS]{}\n", [c("no call [ARGS]{}\n")]),
    "tag-only": Sample("[TOOL_CALLS] is a tag", [c("[TOOL_CALLS] is a tag")]),
    "no-name": Sample("[TOOL_CALLS][ARGS]{}", [c("[TOOL_CALLS][ARGS]{}")]),
    "no-object": Sample("[TOOL_CALLS]ping[ARGS]5", [c("[TOOL_CALLS]ping[ARGS]5")]),
    "cut": Sample(
        '[TOOL_CALLS]weather[ARGS]{"city": "B', call(0, "weather", '{"city": "B'), cut=True
    ),
    "cut-name": Sample("[TOOL_CALLS]weather[AR", [c("[TOOL_CALLS]weather[AR")]),
    "broken": Sample("[TOOL_CALLS]ping[ARGS]{]} so", [*call(0, "ping", "{"), c("]} so")], cut=True),
}

FUNCTIONARY_31 = {
    "one": Sample(f"<function=weather>{WEATHER}</function>", call(0, "weather", WEATHER)),
    "several": Sample(
        f"<function=weather>{WEATHER}</function>\n<function=ping>{{}}</function>",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.\n<function=ping>{}</function> Done.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(f"<function=note>{UNICODE}</function>", call(0, "note", UNICODE)),
    "empty": Sample("<function=ping></function>", call(0, "ping", "{}")),
    "no-closing-tag": Sample("<function=ping>{}", call(0, "ping", "{}")),
    "text": Sample("f(x) < <functional>\n", [c("f(x) < <functional>\n")]),
    "unlisted": Sample("<function=f>{}</function>", [c("<function=f>{}</function>")]),
    "no-object": Sample("<function=ping>so</function>", [c("<function=ping>so</function>")]),
    "cut": Sample('<function=weather>{"city', call(0, "weather", '{"city'), cut=True),
    "cut-name": Sample("<function=wea", [c("<function=wea")]),
    "cut-before-the-arguments": Sample("<function=ping>\n", [c("<function=ping>\n")]),
    "broken": Sample("<function=ping>{]", [*call(0, "ping", "{"), c("]")], cut=True),
}

FUNCTIONARY_32 = {
    "one": Sample(f"weather\n{WEATHER}", call(0, "weather", WEATHER)),
    "several": Sample(
        f"weather\n{WEATHER}>>>ping\n{{}}",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "before": Sample("all\nI look.>>>ping\n{}", [c("I look."), *call(0, "ping", "{}")]),
    "after": Sample("ping\n{}\n>>>all\nDone.\n", [*call(0, "ping", "{}"), c("Done.\n")]),
    "content": Sample("all\nall is well, no >>> call\n", [c("all is well, no >>> call\n")]),
    "content-with-opener": Sample(">>>all\nYes.", [c("Yes.")]),
    "one-with-opener": Sample(">>>ping\n{}", call(0, "ping", "{}")),
    "unicode": Sample(f"note\n{UNICODE}", call(0, "note", UNICODE)),
    "plain": Sample("Hello there\nyou", [c("Hello there\nyou")]),
    "word": Sample("Hello", [c("Hello")]),
    "unlisted": Sample("other\n{}", [c("other\n{}")]),
    "doctest": Sample("all\n>>> f(1)\n>>>ping\n[1]", [c(">>> f(1)\n>>>ping\n[1]")]),
    "nothing": Sample("", []),
    "only-content-header": Sample("all\n", []),
    "cut": Sample('weather\n{"city": "', call(0, "weather", '{"city": "'), cut=True),
    "cut-name": Sample("all\nSo >>>wea", [c("So >>>wea")]),
    "broken": Sample("ping\n{]>>>all\nx", [*call(0, "ping", "{"), c("]x")], cut=True),
}

HARMONY = {
    "one": Sample(
        "<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
        + WEATHER
        + "<|call|>",
        call(0, "weather", WEATHER),
    ),
    "in-the-channel": Sample(
        "<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{}",
        call(0, "ping", "{}"),
    ),
    "in-the-role": Sample(
        " to=functions.ping<|channel|>commentary json<|message|>{}<|call|>", call(0, "ping", "{}")
    ),
    "in-a-later-role": Sample(
        "Well.\n<|start|>assistant to=functions.ping<|channel|>analysis<|message|> {} <|call|>",
        [c("Well."), *call(0, "ping", "{}")],
    ),
    "several": Sample(
        "<|channel|>commentary to=functions.weather<|message|>"
        + WEATHER
        + "<|call|><|start|>assistant<|channel|>commentary to=functions.ping<|message|>{}<|end|>",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "content-after": Sample(
        "<|channel|>commentary to=functions.ping<|message|>{}<|call|>\nDone.\n",
        [*call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        "<|channel|>commentary to=functions.note<|message|>" + UNICODE + "<|call|>",
        call(0, "note", UNICODE),
    ),
    "empty": Sample(
        "<|channel|>commentary to=functions.ping<|message|><|call|>", call(0, "ping", "{}")
    ),
    "listed-without-namespace": Sample(
        "<|channel|>commentary to=ping<|message|>{}<|call|>", call(0, "ping", "{}")
    ),
    "built-in": Sample(
        "<|channel|>commentary to=python code<|message|>print(1)<|call|>",
        [c("<|channel|>commentary to=python code<|message|>print(1)<|call|>")],
    ),
    "text": Sample("Go to=functions.ping now\n", [c("Go to=functions.ping now\n")]),
    "no-recipient": Sample("<|channel|>so<|message|>x", [c("<|channel|>so<|message|>x")]),
    "no-object": Sample(
        "<|channel|>commentary to=functions.ping<|message|>hm",
        [c("<|channel|>commentary to=functions.ping<|message|>hm")],
    ),
    "endless-header": Sample(
        "<|start|>" + "x" * 300 + "<|message|>", [c("<|start|>" + "x" * 300 + "<|message|>")]
    ),
    "cut": Sample(
        '<|channel|>commentary to=functions.weather<|message|>{"city": "Ber',
        call(0, "weather", '{"city": "Ber'),
        cut=True,
    ),
    "cut-name": Sample(
        "<|channel|>commentary to=functions.weath", [c("<|channel|>commentary to=functions.weath")]
    ),
    "broken": Sample(
        "<|channel|>commentary to=functions.ping<|message|>{]<|call|>",
        [*call(0, "ping", "{"), c("]<|call|>")],
        cut=True,
    ),
}

GEMMA = {
    "one": Sample(
        '<|tool_call>call:weather{city:<|"|>Bern<|"|>,days:2}<tool_call|>',
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        "<|tool_call>call:ping{}<tool_call|><|tool_call>call:ping{}<tool_call|>",
        [*call(0, "ping", "{}"), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.\n<|tool_call>call:ping{}<tool_call|>\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "odd-string": Sample(
        f'<|tool_call>call:note{{text:<|"|>{ODD}<|"|>}}<tool_call|>', call(0, "note", ODD_JSON)
    ),
    "nested": Sample(
        '<|tool_call>call:note{place:{at:[1,-2.5e3],name:<|"|>é<|"|>},tags:[<|"|>a<|"|>,<|"|><|"|>'
        '],text:<|"|>{x}<|"|>}<tool_call|>',
        call(
            0,
            "note",
            '{"place": {"at": [1, -2.5e3], "name": "é"}, "tags": ["a", ""], "text": "{x}"}',
        ),
    ),
    "words": Sample(
        "<|tool_call>call:f{a:true,b:null,c:None, d : false ,e:[[],{}],f:1e999,}<tool_call|>",
        call(0, "f", '{"a": true, "b": null, "c": null, "d": false, "e": [[], {}], "f": 1e999}'),
    ),
    "bare-strings": Sample(
        "<|tool_call>call:f{a:New York,b:1.2.3,c:[x y,<z]}<tool_call|>",
        call(0, "f", '{"a": "New York", "b": "1.2.3", "c": ["x y", "<z"]}'),
    ),
    "quoted": Sample(
        '<|tool_call>call:f{"a":"x, \\"y}",<|"|>b c<|"|>:1}<tool_call|>',
        call(0, "f", '{"a": "x, \\"y}", "b c": 1}'),
    ),
    "dotted-name": Sample("<|tool_call>call:a.b-c{}", call(0, "a.b-c", "{}")),
    "text": Sample("call:ping{} and <|tool\n", [c("call:ping{} and <|tool\n")]),
    "no-call": Sample("<|tool_call>ping{}<tool_call|>", [c("<|tool_call>ping{}<tool_call|>")]),
    "no-name": Sample("<|tool_call>call:{}", [c("<|tool_call>call:{}")]),
    "cut-name": Sample("<|tool_call>call:weat", [c("<|tool_call>call:weat")]),
    "cut-string": Sample(
        '<|tool_call>call:note{text:<|"|>a\n<|"', call(0, "note", '{"text": "a\\n<|\\"'), cut=True
    ),
    "cut-number": Sample(
        "<|tool_call>call:weather{days:12", call(0, "weather", '{"days": 12'), cut=True
    ),
    "cut-key": Sample("<|tool_call>call:weather{da", call(0, "weather", "{"), cut=True),
    "broken": Sample(
        "<|tool_call>call:weather{days:}<tool_call|>",
        [*call(0, "weather", '{"days": '), c("}<tool_call|>")],
        cut=True,
    ),
    "broken-after-string": Sample(
        '<|tool_call>call:note{text:<|"|>a<|"|>b}<tool_call|>',
        [*call(0, "note", '{"text": "a"'), c("b}<tool_call|>")],
        cut=True,
    ),
    "broken-key": Sample(
        "<|tool_call>call:note{text,a:1}", [*call(0, "note", "{"), c("text,a:1}")], cut=True
    ),
}

DEEPSEEK = {
    "one": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        + WEATHER
        + "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        + WEATHER
        + "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{}"
        "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n"
        "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "no-outer-tag": Sample(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{}\n```<｜tool▁call▁end｜>",
        call(0, "ping", "{}"),
    ),
    "unicode": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>note\n```json\n"
        + UNICODE
        + "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        call(0, "note", UNICODE),
    ),
    "empty": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n```"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        call(0, "ping", "{}"),
    ),
    "other-shape": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        call(0, "ping", "{}"),
    ),
    "text": Sample("<tool_calls> ｜ <｜tool\n", [c("<tool_calls> ｜ <｜tool\n")]),
    "tag-only": Sample("<｜tool▁calls▁begin｜> so", [c("<｜tool▁calls▁begin｜> so")]),
    "cut": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        '{"city": "Be',
        call(0, "weather", '{"city": "Be'),
        cut=True,
    ),
    "cut-name": Sample(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>wea",
        [c("<｜tool▁call▁begin｜>function<｜tool▁sep｜>wea")],
    ),
    "cut-closing": Sample(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{}\n``",
        [*call(0, "ping", "{}"), c("``")],
    ),
    "broken": Sample(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>ping\n```json\n{]",
        [*call(0, "ping", "{"), c("]")],
        cut=True,
    ),
}

DEEPSEEK_31 = {
    "one": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        + WEATHER
        + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        + WEATHER
        + "<｜tool▁call▁end｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜> Done.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>note<｜tool▁sep｜>"
        + UNICODE
        + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        call(0, "note", UNICODE),
    ),
    "empty": Sample(
        "<｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜>", call(0, "ping", "{}")
    ),
    "text": Sample("a <｜ b\n", [c("a <｜ b\n")]),
    "no-name": Sample("<｜tool▁call▁begin｜>{}", [c("<｜tool▁call▁begin｜>{}")]),
    "endless-name": Sample(
        "<｜tool▁call▁begin｜>" + "x" * 129 + "<｜tool▁sep｜>{}",
        [c("<｜tool▁call▁begin｜>" + "x" * 129 + "<｜tool▁sep｜>{}")],
    ),
    "cut": Sample(
        '<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "B',
        call(0, "weather", '{"city": "B'),
        cut=True,
    ),
    "cut-name": Sample("<｜tool▁call▁begin｜>weath", [c("<｜tool▁call▁begin｜>weath")]),
    "broken": Sample(
        "<｜tool▁call▁begin｜>ping<｜tool▁sep｜>{]", [*call(0, "ping", "{"), c("]")], cut=True
    ),
}

GRANITE = {
    "one": Sample(
        '<|tool_call|>[{"name": "weather", "arguments": ' + WEATHER + "}]",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '<tool_call>[{"name": "weather", "arguments": '
        + WEATHER
        + '},\n{"name": "ping", "arguments": {}}]',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        'I look.\n<|tool_call|> [{"name": "ping", "arguments": {}}] Done.\n',
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        '<|tool_call|>[{"name": "note", "arguments": ' + UNICODE + "}]", call(0, "note", UNICODE)
    ),
    "empty": Sample('<|tool_call|>[{"name": "ping", "arguments": {}}]', call(0, "ping", "{}")),
    "text": Sample("[1] <|tool_ and <tool_ca\n", [c("[1] <|tool_ and <tool_ca\n")]),
    "no-list": Sample('<tool_call>{"name": "ping"}', [c('<tool_call>{"name": "ping"}')]),
    "cut": Sample(
        '<|tool_call|>[{"name": "weather", "arguments": {"city": "B',
        call(0, "weather", '{"city": "B'),
        cut=True,
    ),
    "cut-name": Sample('<|tool_call|>[{"name": "w', [c('<|tool_call|>[{"name": "w')]),
    "broken": Sample(
        '<|tool_call|>[{"name": "ping", "arguments": {]',
        [*call(0, "ping", "{"), c("]")],
        cut=True,
    ),
}

COMMAND_A = {
    "one": Sample(
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "weather", "parameters": '
        + WEATHER
        + "}\n]<|END_ACTION|>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "weather", "parameters": '
        + WEATHER
        + '},\n    {"tool_call_id": "1", "tool_name": "ping", "parameters": {}}\n]<|END_ACTION|>',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        'I look.<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "ping", "parameters": {}}]'
        "<|END_ACTION|>\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "note", "parameters": '
        + UNICODE
        + "}]<|END_ACTION|>",
        call(0, "note", UNICODE),
    ),
    "no-parameters": Sample(
        '<|START_ACTION|>[{"tool_name": "ping"}]<|END_ACTION|>', call(0, "ping", "{}")
    ),
    "text": Sample("a <|START_ and [\n", [c("a <|START_ and [\n")]),
    "plan": Sample("<|START_ACTION|>none<|END_ACTION|>", [c("<|START_ACTION|>none<|END_ACTION|>")]),
    "cut": Sample(
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "weather", "parameters": {"city',
        call(0, "weather", '{"city'),
        cut=True,
    ),
    "cut-name": Sample(
        '<|START_ACTION|>[{"tool_call_id": "0', [c('<|START_ACTION|>[{"tool_call_id": "0')]
    ),
    "broken": Sample(
        '<|START_ACTION|>[{"tool_name": "ping", "parameters": {]',
        [*call(0, "ping", "{"), c("]")],
        cut=True,
    ),
}

COMMAND_R = {
    "one": Sample(
        'Action: ```json\n[\n    {\n        "tool_name": "weather",\n        "parameters": '
        + WEATHER
        + "\n    }\n]```",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        'Action: ```json\n[\n    {\n        "tool_name": "weather",\n        "parameters": '
        + WEATHER
        + '\n    },\n    {\n        "tool_name": "ping",\n        "parameters": {}\n    }\n]```',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        'Plan: I look.\nAction:```json\n[{"tool_name": "ping", "parameters": {}}]\n```\nDone.\n',
        [c("Plan: I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        'Action: ```json\n[\n    {\n        "tool_name": "note",\n        "parameters": '
        + UNICODE
        + "\n    }\n]```",
        call(0, "note", UNICODE),
    ),
    "text": Sample("Action: none, Act\n", [c("Action: none, Act\n")]),
    "code": Sample("Action: ```json\nx```", [c("Action: ```json\nx```")]),
    "cut": Sample(
        'Action: ```json\n[{"tool_name": "weather", "parameters": {"city',
        call(0, "weather", '{"city'),
        cut=True,
    ),
    "cut-name": Sample("Action: ```js", [c("Action: ```js")]),
    "broken": Sample(
        'Action: ```json\n[{"tool_name": "ping", "parameters": {]\n```',
        [*call(0, "ping", "{"), c("]\n```")],
        cut=True,
    ),
}

PHI = {
    "one": Sample(
        '<|tool_call|>[{"name": "weather", "arguments": ' + WEATHER + "}]<|/tool_call|>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '<|tool_call|>[{"name": "weather", "arguments": '
        + WEATHER
        + '}, {"name": "ping", "arguments": {}}]<|/tool_call|>',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "no-list": Sample(
        '<|tool_call|>{"name": "ping", "arguments": {}}<|/tool_call|>'
        '<|tool_call|>{"name": "ping", "parameters": {}}<|/tool_call|>',
        [*call(0, "ping", "{}"), *call(1, "ping", "{}")],
    ),
    "functools": Sample('functools[{"name": "ping", "arguments": {}}]', call(0, "ping", "{}")),
    "around": Sample(
        'I look.\n<|tool_call|>[{"name": "ping", "arguments": {}}]<|/tool_call|>\nDone.\n',
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "unicode": Sample(
        '<|tool_call|>[{"name": "note", "arguments": ' + UNICODE + "}]<|/tool_call|>",
        call(0, "note", UNICODE),
    ),
    "text": Sample("import functools, <|tool_\n", [c("import functools, <|tool_\n")]),
    "cut": Sample(
        '<|tool_call|>[{"name": "weather", "arguments": {"city": "B',
        call(0, "weather", '{"city": "B'),
        cut=True,
    ),
    "cut-name": Sample('<|tool_call|>[{"nam', [c('<|tool_call|>[{"nam')]),
    "broken": Sample(
        '<|tool_call|>[{"name": "ping", "arguments": {]', [*call(0, "ping", "{"), c("]")], cut=True
    ),
}

GLM = {
    "one": Sample(
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        "<tool_call>ping\n</tool_call>\n<tool_call>ping</tool_call>",
        [*call(0, "ping", "{}"), *call(1, "ping", "{}")],
    ),
    "around": Sample(
        "I look.\n<tool_call>ping\n</tool_call>\nDone.\n",
        [c("I look."), *call(0, "ping", "{}"), c("Done.\n")],
    ),
    "odd-string": Sample(
        f"<tool_call>note\n<arg_key>text</arg_key>\n<arg_value>{ODD}</arg_value>\n</tool_call>",
        call(0, "note", ODD_JSON),
    ),
    "no-lines": Sample(
        "<tool_call>note<arg_key>text</arg_key><arg_value>a\n</arg_value><arg_key>tags</arg_key>"
        '<arg_value>["x", 1]</arg_value></tool_call>',
        call(0, "note", '{"text": "a\\n", "tags": ["x", 1]}'),
    ),
    "tag-in-a-list": Sample(
        '<tool_call>note\n<arg_key>tags</arg_key>\n<arg_value> ["</arg_value>"]</arg_value>\n'
        "</tool_call>",
        call(0, "note", '{"tags": ["</arg_value>"]}'),
    ),
    "list-without-end": Sample(
        '<tool_call>note\n<arg_key>tags</arg_key>\n<arg_value>["a]</arg_value>\n'
        "<arg_key>place</arg_key>\n<arg_value>{x</arg_value>\n</tool_call>\nDone.",
        [*call(0, "note", '{"tags": "[\\"a]", "place": "{x"}'), c("Done.")],
    ),
    "broken-list": Sample(
        "<tool_call>note\n<arg_key>tags</arg_key>\n<arg_value>[}</arg_value></tool_call>",
        call(0, "note", '{"tags": "[}"}'),
    ),
    "cut-list": Sample(
        '<tool_call>note\n<arg_key>tags</arg_key>\n<arg_value>["a',
        call(0, "note", '{"tags": "[\\"a'),
        cut=True,
    ),
    "text": Sample("a <tool_ and\n", [c("a <tool_ and\n")]),
    "tag-only": Sample("Use <tool_call> so on", [c("Use <tool_call> so on")]),
    "json-inside": Sample('<tool_call>{"name": "f"}', [c('<tool_call>{"name": "f"}')]),
    "cut-string": Sample(
        "<tool_call>note\n<arg_key>text</arg_key>\n<arg_value>ab</arg_v",
        call(0, "note", '{"text": "ab</arg_v'),
        cut=True,
    ),
    "cut-name": Sample("<tool_call>wea", [c("<tool_call>wea")]),
    "broken": Sample(
        "<tool_call>note\n<arg_key>text</arg_key>oops",
        [*call(0, "note", ""), c("oops")],
        cut=True,
    ),
}

HERMES = {
    "one": Sample(
        '<tool_call>\n{"name": "weather", "arguments": ' + WEATHER + "}\n</tool_call>",
        call(0, "weather", WEATHER),
    ),
    "several": Sample(
        '<tool_call>\n{"name": "weather", "arguments": '
        + WEATHER
        + '}\n</tool_call>\n<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>',
        [*call(0, "weather", WEATHER), *call(1, "ping", "{}")],
    ),
    "unicode": Sample(
        '<tool_call>\n{"name": "note", "arguments": ' + UNICODE + "}\n</tool_call>",
        call(0, "note", UNICODE),
    ),
}

SAMPLES: dict[str, dict[str, Sample]] = {
    "harmony": HARMONY,
    "gemma4": GEMMA,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v3_1": DEEPSEEK_31,
    "command_a": COMMAND_A,
    "command_r": COMMAND_R,
    "mistral": MISTRAL,
    "mistral_v11": MISTRAL_V11,
    "functionary_v3_2": FUNCTIONARY_32,
    "functionary_v3_1": FUNCTIONARY_31,
    "qwen3_coder": CODER,
    "glm4": GLM,
    "granite": GRANITE,
    "phi4_mini": PHI,
    "llama3_json": LLAMA,
    "hermes": HERMES,
}

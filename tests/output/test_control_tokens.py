# ruff: noqa: RUF001 - names of DeepSeek's tokens
"""Which control tokens are left out of answers, by the formats that a model writes."""

import pytest

from pilotlight.output.control_tokens import skipped_tokens

STEERING = {"<s>", "</s>", "<|im_start|>", "<|fim_pad|>", "[INST]", "<unk>"}


def heard(names, reasoning=None, calls=None):
    """Return the names that are left in an answer which is read for reasoning and calls."""
    left_out = skipped_tokens({*names, *STEERING}, reasoning, calls)
    assert left_out.text == {name.encode() for name in {*names, *STEERING}}
    return {name for name in {*names, *STEERING} if name.encode() not in left_out.tool_calls}


@pytest.mark.parametrize(
    ("reasoning", "calls", "names"),
    [
        (None, None, set()),
        ("think", "hermes", {"<think>", "</think>", "<tool_call>", "</tool_call>"}),
        (
            "magistral",
            "mistral_v11",
            {"[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"},
        ),
        (None, "mistral", {"[TOOL_CALLS]"}),
        (
            "harmony",
            "harmony",
            {
                "<|start|>",
                "<|channel|>",
                "<|message|>",
                "<|constrain|>",
                "<|end|>",
                "<|call|>",
                "<|return|>",
            },
        ),
        (
            "channel",
            "gemma4",
            {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>'},
        ),
        (
            "command_a",
            "command_a",
            {
                "<|START_THINKING|>",
                "<|END_THINKING|>",
                "<|START_RESPONSE|>",
                "<|END_RESPONSE|>",
                "<|START_ACTION|>",
                "<|END_ACTION|>",
            },
        ),
        (
            "think",
            "deepseek_v3",
            {
                "<think>",
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            },
        ),
        (None, "phi4_mini", {"<|tool_call|>", "<|/tool_call|>"}),
        (None, "llama3_json", {"<|python_tag|>"}),
        (None, "granite", {"<|tool_call|>"}),
        (
            "think",
            "glm4",
            {"<tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"},
        ),
    ],
)
def test_markers_are_heard(reasoning, calls, names):
    """All that a format is written with goes to its parser, and nothing else does."""
    assert heard(names, reasoning, calls) == names


def test_markers_of_calls_are_skipped_if_they_are_not_parsed():
    """Without tools they are control tokens like others; reasoning is read in any chat."""
    left_out = skipped_tokens({"[TOOL_CALLS]", "[THINK]"}, "magistral", "mistral")
    assert left_out.chat == {b"[TOOL_CALLS]"}
    assert left_out.tool_calls == frozenset()

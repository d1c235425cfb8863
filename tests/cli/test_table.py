"""Tables as commands print them."""

import pytest

from pilotlight.cli.table import print_table, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("qwen3-0.6b", "qwen3-0.6b"),
        ("größe 大", "größe 大"),
        ("red\x1b[31m.gguf", r"red\x1b[31m.gguf"),
        ("two\nlines", r"two\nlines"),
        ("\u202egpj", r"\u202egpj"),
        ("bad\udcff", r"bad\udcff"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str):
    assert printable(text) == shown


def test_columns_fit_what_is_shown(capsys: pytest.CaptureFixture[str]):
    print_table([("A", "B"), ("x\x1b", "1"), ("y", "22")])
    assert capsys.readouterr().out == "A      B\nx\\x1b  1\ny      22\n"

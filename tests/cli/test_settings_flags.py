"""The flags of settings that are true or false."""

import argparse

import pytest

from pilotlight.cli.settings_flags import add_settings
from pilotlight.config import load_settings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], True),
        (["--page"], True),
        (["--page", "true"], True),
        (["--page", "false"], False),
        (["--page=false"], False),
        (["--no-page"], False),
        (["--no-page", "--page"], True),
        (["--page", "--no-chat-completions"], True),
    ],
)
def test_a_switch_takes_a_value_or_none(arguments: list[str], expected: bool):  # noqa: FBT001 - a parameter of the test
    parser = argparse.ArgumentParser()
    add_settings(parser)

    assert load_settings(vars(parser.parse_args(arguments)), {}).page is expected

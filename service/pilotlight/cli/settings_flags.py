"""A flag for each setting, and how a setting is described."""

import argparse
from collections.abc import Collection
from typing import Annotated, Any, get_args, get_origin

import msgspec

from pilotlight.config import Settings, environment_name, is_secret


def add_settings(parser: argparse.ArgumentParser, shown: Collection[str] | None = None) -> None:
    """Give *parser* a flag for each setting; values are converted, and refused, by `config`.

    The help has those in *shown*, by default all. The others are accepted, so that a command takes
    the flags that a server is started with.
    """
    own = parser.format_usage().removeprefix("usage: ").rstrip()
    parser.usage = f"{own} [--SETTING VALUE ...]".replace("%", "%%")  # all of them fill a page
    group = parser.add_argument_group("settings")
    for field in msgspec.structs.fields(Settings):
        add_setting(group, field, shown=shown is None or field.name in shown)


def flag_of(field: msgspec.structs.FieldInfo) -> str:
    """Return the flag of a setting."""
    return "--" + field.name.replace("_", "-")


def add_setting(
    parser: argparse._ActionsContainer, field: msgspec.structs.FieldInfo, *, shown: bool = True
) -> None:
    """Give *parser* the flag of one setting; a secret's is refused when it is used."""
    flag = flag_of(field)
    variable, default = environment_name(field.name), default_of(field)
    help_text = f"{description(field.type)} [{variable}{f'; {default}' if default else ''}]"
    options: dict[str, Any] = {
        "default": argparse.SUPPRESS,
        "help": help_text.replace("%", "%%") if shown else argparse.SUPPRESS,
    }
    if is_secret(field.type):
        # Without a flag, argparse would read it as a prefix of another one and print its value in
        # an error. In the singular it is a flag of llama-server and of vLLM.
        options |= {"action": _RefuseSecret, "nargs": "?", "help": argparse.SUPPRESS}
        parser.add_argument(flag, flag.removesuffix("s"), **options)
    elif _bare(field.type) is bool:
        # Not `BooleanOptionalAction`, which refuses `--flag false`: the variable takes that too.
        parser.add_argument(flag, nargs="?", const=True, metavar="true|false", **options)
        parser.add_argument(
            "--no-" + flag.removeprefix("--"),
            dest=field.name,
            action="store_false",
            default=argparse.SUPPRESS,
            help=f"The same as {flag} false." if shown else argparse.SUPPRESS,
        )
    else:
        parser.add_argument(flag, metavar="VALUE", **options)


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """Return what a setting is unless it is given, "" where that is nothing."""
    match field.default:
        case None | ():
            return ""
        case bool() as value:
            return str(value).lower()
        case value:
            return str(value)


class _RefuseSecret(argparse.Action):
    """Refuses a secret on the command line, and names its variable."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        flag = self.option_strings[0]
        parser.error(
            f"{flag}: other users of this machine can read a command line;"
            f" set {environment_name(self.dest)}"
        )


def description(annotation: Any) -> str:
    """Return the description in *annotation*'s outermost metadata."""
    for meta in reversed(get_args(annotation)[1:]):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return ""


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation

"""The command line. Each heavy import stands inside its command: the port opens before them."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec

from pilotlight import __version__
from pilotlight.config import ConfigError, Settings, environment_name, load_settings

if TYPE_CHECKING:
    from pilotlight.models.listing import ListedModel


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that *argv* names; bad configuration is one line and exit status 2."""
    arguments = vars(_parser().parse_args(argv))
    command: Callable[..., None] = arguments.pop("command")
    own = {name: arguments.pop(name) for name in ("output",) if name in arguments}
    try:
        command(load_settings(arguments), **own)
    except ConfigError as error:
        sys.exit(f"pilotlight: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pilotlight", description="Language models behind the OpenAI API."
    )
    parser.add_argument("--version", action="version", version=f"pilotlight {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, summary in (
        ("serve", serve, "serve the models over HTTP"),
        ("models", models, "list the models and the backends that serve them"),
        ("openapi", openapi, "write the OpenAPI document as YAML"),
        ("settings", settings_table, "write the table of settings as Markdown"),
    ):
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        sub.set_defaults(command=command)
        if name in ("openapi", "settings"):
            sub.add_argument("--output", metavar="FILE", help="file to write; else standard output")
        _add_settings(sub)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Give *parser* a flag for each setting; values are converted, and refused, by `config`."""
    for field in msgspec.structs.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        help_text = f"{description(field.type)} [{environment_name(field.name)}]"
        options: dict[str, Any] = {
            "default": argparse.SUPPRESS,
            "help": help_text.replace("%", "%%"),
        }
        if _bare(field.type) is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        else:
            parser.add_argument(flag, metavar="VALUE", **options)


# ── serve ───────────────────────────────────────────────────────────────────────────────────────


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. The port is open before anything heavy is imported."""
    from pilotlight import server  # noqa: PLC0415

    with server.listen(settings) as listener:
        server.run(settings, listener)


# ── models ──────────────────────────────────────────────────────────────────────────────────────


def models(settings: Settings) -> None:
    """Print every model, where it comes from and which backend serves it."""
    import asyncio  # noqa: PLC0415

    from pilotlight.app import create_service  # noqa: PLC0415
    from pilotlight.models.listing import describe  # noqa: PLC0415

    service = create_service(settings)
    listed = describe(asyncio.run(service.resolver.entries()), service.registry)
    rows = [_model_row(model) for model in listed]
    header = ("MODEL", "SOURCE", "BACKEND", "ARCHITECTURE", "CONTEXT", "SIZE", "PATH")
    _print_table([header, *rows])


def _model_row(model: "ListedModel") -> Sequence[str]:
    facts = model.facts
    return (
        model.entry.name,
        model.entry.source,
        model.backend or "-",
        facts.architecture if facts else "-",
        str(facts.context_length) if facts else "-",
        f"{facts.size_bytes / 1e6:.1f} MB" if facts else "-",
        str(model.entry.path) if model.error is None else model.error,
    )


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())  # noqa: T201 - a command's output


# ── generated files ─────────────────────────────────────────────────────────────────────────────


def openapi(settings: Settings, output: str | None) -> None:
    """Write the document that a server with these settings publishes."""
    from pilotlight.api.docs import document_yaml  # noqa: PLC0415
    from pilotlight.api.document import build_document  # noqa: PLC0415
    from pilotlight.app import create_app  # noqa: PLC0415

    app = create_app(settings)
    document = build_document(app, chat_completions_path=settings.chat_completions_path)
    _write(document_yaml(document).decode(), output)


def settings_table(_: Settings, output: str | None) -> None:
    """Write the settings as docs/settings.md has them."""
    _write(render_settings(), output)


def render_settings() -> str:
    """Return docs/settings.md: each setting's flag, variable, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Generated by `pilotlight settings`.",
        "A flag wins over its variable, a variable over the default.",
        "`PORT` sets the port too, and with it the host to `0.0.0.0`.",
        "",
        "| flag | variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        variable = environment_name(field.name)
        default = _default(field.default)
        lines.append(f"| `{flag}` | `{variable}` | {default} | {description(field.type)} |")
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    match value:
        case None | ():
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        Path(output).write_text(text, encoding="utf-8")


# ── annotations ─────────────────────────────────────────────────────────────────────────────────


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

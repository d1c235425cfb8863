"""The command line. Each heavy import stands inside its command: the port opens before them."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec

from pilotlight import __version__
from pilotlight.config import ConfigError, Settings, environment_name, is_secret, load_settings

if TYPE_CHECKING:
    from pilotlight.models.catalog import ModelEntry
    from pilotlight.models.listing import ListedModel


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that *argv* names; bad configuration is one line and a non-zero status."""
    arguments = vars(_parser().parse_args(argv))
    command: Callable[[dict[str, Any]], None] = arguments.pop("command")
    try:
        command(arguments)
    except ConfigError as error:
        sys.exit(f"pilotlight: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pilotlight", description="Language models behind the OpenAI API."
    )
    parser.add_argument("--version", action="version", version=f"pilotlight {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, add_arguments, summary in (
        ("serve", serve, _add_settings, "serve the models over HTTP"),
        ("models", models, _add_settings, "list the models and the backends that serve them"),
        ("pull", pull, _add_pull, "fetch a model into the models folder"),
        ("bake", bake, _add_bake, "evaluate a system prompt once, for every start to begin with"),
        ("bench", None, _add_benches, "measure what clients of a server see"),
        ("openapi", openapi, _add_document, "write the OpenAPI document as YAML"),
        ("settings", settings_table, _add_output, "write the table of settings as Markdown"),
    ):
        sub = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        sub.set_defaults(command=command)
        add_arguments(sub)
    return parser


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="https://…, hf://OWNER/REPO[@REVISION]/FILE_OR_FOLDER, s3://… or gs://…",
    )
    parser.add_argument("--name", help="the name to serve it under; by default its file's")
    parser.add_argument("--sha256", metavar="HEX", help="what the file must be")
    parser.add_argument(
        "--connections", metavar="N", default=8, type=int, help="ranges to fetch at once [8]"
    )
    for field in msgspec.structs.fields(Settings):
        if field.name == "models_dir":
            _add_setting(parser, field)


def _add_bake(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the model's name, as requests say it")
    parser.add_argument(
        "--prompt", metavar="FILE", type=Path, required=True, help="file with the system prompt"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write; by default where serving looks: MODELFILE.baked beside the model,"
        " or what models.yaml says",
    )
    _add_settings(parser)


def _add_benches(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for name, command, add_arguments, summary in (
        ("streams", bench_streams, _add_bench_streams, "a running server, ours or a peer's"),
        ("coldstart", bench_cold_start, _add_bench_cold_start, "from exec to the first token"),
    ):
        sub = kinds.add_parser(name, help=summary, description=summary.capitalize() + ".")
        sub.set_defaults(command=command)
        add_arguments(sub)


def _add_bench_cold_start(parser: argparse.ArgumentParser) -> None:
    _add_bench_arguments(
        parser,
        ("--model", "spark", "the model to start with"),
        ("--rounds", 5, "starts; the table has their medians too"),
        ("--prompt", "What is 2+2?", "what to ask"),
    )
    parser.add_argument(
        "--drop-page-cache",
        action="store_true",
        help="start as often with an empty page cache, as on a machine that never ran the model",
    )
    _add_settings(parser)


def _add_bench_streams(parser: argparse.ArgumentParser) -> None:
    _add_bench_arguments(
        parser,
        ("--url", "http://127.0.0.1:8080/v1", "the API's base address"),
        ("--model", "spark", "the model to ask"),
        ("--streams", "1,4,8", "answers to ask for at once, several counts comma-separated"),
        ("--rounds", 3, "rounds for each count; the table has their medians"),
        ("--prompt-words", 64, "length of each prompt"),
        ("--max-tokens", 48, "length of each answer"),
    )


def _add_bench_arguments(
    parser: argparse.ArgumentParser, *arguments: tuple[str, str | int, str]
) -> None:
    for flag, default, help_text in arguments:
        parser.add_argument(
            flag, default=default, type=type(default), help=f"{help_text} [{default}]"
        )


def _add_document(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_settings(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="file to write; else standard output")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Give *parser* a flag for each setting; values are converted, and refused, by `config`."""
    for field in msgspec.structs.fields(Settings):
        _add_setting(parser, field)


def _add_setting(parser: argparse.ArgumentParser, field: msgspec.structs.FieldInfo) -> None:
    flag = "--" + field.name.replace("_", "-")
    help_text = f"{description(field.type)} [{environment_name(field.name)}]"
    options: dict[str, Any] = {
        "default": argparse.SUPPRESS,
        "help": help_text.replace("%", "%%"),
    }
    if is_secret(field.type):
        # Unknown, it would be taken for the beginning of another flag and be told in an error; in
        # the singular it is llama-server's and vLLM's.
        options |= {"action": _RefuseSecret, "nargs": "?", "help": argparse.SUPPRESS}
        parser.add_argument(flag, flag.removesuffix("s"), **options)
    elif _bare(field.type) is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    else:
        parser.add_argument(flag, metavar="VALUE", **options)


class _RefuseSecret(argparse.Action):
    """Refuses a secret on the command line, and names its variable."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        flag = self.option_strings[0]
        parser.error(
            f"{flag}: everybody on this machine can read a command line;"
            f" set {environment_name(self.dest)}"
        )


# ── serve ───────────────────────────────────────────────────────────────────────────────────────


def serve(arguments: dict[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT. The port is open before anything heavy is imported."""
    from pilotlight import server  # noqa: PLC0415

    settings = load_settings(arguments)
    with server.listen(settings) as listener:
        server.run(settings, listener)


# ── models ──────────────────────────────────────────────────────────────────────────────────────


def models(arguments: dict[str, Any]) -> None:
    """Print every model, where it comes from and which backend serves it."""
    import asyncio  # noqa: PLC0415

    from pilotlight.models.listing import describe  # noqa: PLC0415
    from pilotlight.service import Service  # noqa: PLC0415

    service = Service(load_settings(arguments))
    listed = describe(asyncio.run(service.resolver.entries()), service.registry)
    header = ("MODEL", "SOURCE", "BACKEND", "ARCHITECTURE", "CONTEXT", "SIZE", "PATH")
    _print_table([header, *map(_model_row, listed)])


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


# ── pull ────────────────────────────────────────────────────────────────────────────────────────


def pull(arguments: dict[str, Any]) -> None:
    """Fetch a model, and say where it is and what it is called."""
    from pilotlight.models.catalog import read_models_file  # noqa: PLC0415
    from pilotlight.models.fetch.address import parse_address, place  # noqa: PLC0415
    from pilotlight.models.fetch.failure import FetchFailed  # noqa: PLC0415
    from pilotlight.models.fetch.fetch import fetch  # noqa: PLC0415
    from pilotlight.models.fetch.progress import ProgressBar  # noqa: PLC0415

    address = parse_address(arguments.pop("address"), arguments.pop("sha256"))
    name, connections = arguments.pop("name"), arguments.pop("connections")
    if connections < 1:
        raise ConfigError("--connections: expected at least 1")
    settings = load_settings(arguments)
    configured = read_models_file(settings.models_file, settings.models_dir)
    there = place(address, settings.models_dir, name)
    progress = ProgressBar()
    try:
        fetched = fetch(address, there.root, progress, connections=connections)
    except FetchFailed as error:
        progress.end()
        sys.exit(f"pilotlight: {error}")
    except KeyboardInterrupt:
        progress.end()
        print("pilotlight: stopped; the same command goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    progress.end()
    print(there.root if fetched else f"{there.root} (it was there already)")  # noqa: T201
    print(_served_as(there.model, settings, configured))  # noqa: T201


def _served_as(path: Path, settings: Settings, configured: Sequence["ModelEntry"]) -> str:
    from pilotlight.models.catalog import Discovery  # noqa: PLC0415
    from pilotlight.models.registry import Claim, Registry  # noqa: PLC0415

    discovery = Discovery(settings.models_dir, Registry(only=settings.backends))
    for found in discovery.scan(configured):
        if found.entry.path == path or path in found.entry.path.parents:
            if isinstance(found.claim, Claim):
                return f"served as {found.entry.name}"
            return f"cannot be served: {found.claim}"
    return "cannot be served: no backend that is installed recognises it"


# ── bake ────────────────────────────────────────────────────────────────────────────────────────


def bake(arguments: dict[str, Any]) -> None:
    """Write a system prompt's state beside its model, and print what it comes to."""
    import asyncio  # noqa: PLC0415

    from pilotlight import bake as baking  # noqa: PLC0415
    from pilotlight.errors import ServiceError  # noqa: PLC0415
    from pilotlight.service import Service, load_options  # noqa: PLC0415
    from pilotlight.telemetry import configure_logging  # noqa: PLC0415

    name, file, output = (arguments.pop(key) for key in ("model", "prompt", "output"))
    settings = load_settings(arguments)
    configure_logging(settings)
    try:
        prompt = baking.read_prompt(file)
        service = Service(settings)
        entry = asyncio.run(service.resolver.resolve(name))
        options = load_options(settings, entry)
        done = baking.bake(entry, service.registry, options, prompt, output=output)
    except (baking.CannotBake, ServiceError) as error:
        sys.exit(f"pilotlight: {error}")
    print(  # noqa: T201 - a command's output
        f"{done.path}: {done.tokens} tokens, {done.size_bytes / 1e6:.1f} MB,"
        f" in {done.seconds:.1f} s"
    )


# ── bench ───────────────────────────────────────────────────────────────────────────────────────


def bench_streams(arguments: dict[str, Any]) -> None:
    """Print what a running server does, in a table."""
    import asyncio  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    from pilotlight.bench.api_key import key_headers  # noqa: PLC0415
    from pilotlight.bench.streams import bench, table  # noqa: PLC0415

    try:
        streams = [int(count) for count in arguments.pop("streams").split(",")]
    except ValueError:
        raise ConfigError("--streams: expected numbers, comma-separated") from None
    url, headers = arguments.pop("url"), key_headers(os.environ)
    try:
        figures = asyncio.run(bench(url, streams=streams, headers=headers, **arguments))
    except httpx.HTTPError as error:
        sys.exit(f"pilotlight: {url}: {error}")
    _print_table(table(figures))


def bench_cold_start(arguments: dict[str, Any]) -> None:
    """Start the server again and again, and print where the time went."""
    import asyncio  # noqa: PLC0415

    from pilotlight.bench.api_key import key_headers  # noqa: PLC0415
    from pilotlight.bench.cold_start import (  # noqa: PLC0415
        StartFailed,
        measure,
        middle,
        picture,
        table,
    )
    from pilotlight.errors import ServiceError  # noqa: PLC0415
    from pilotlight.service import Service  # noqa: PLC0415

    model, prompt, rounds, drop = (
        arguments.pop(name) for name in ("model", "prompt", "rounds", "drop_page_cache")
    )
    headers = key_headers(os.environ)
    service = Service(load_settings(arguments))
    try:
        path = asyncio.run(service.resolver.resolve(model)).path
        files = [file for file in (path, *path.rglob("*")) if file.is_file()] if drop else None
        serve = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
        asked = {"model": model, "prompt": prompt, "rounds": rounds}
        starts = list(measure(serve, **asked, files=files, headers=headers))
    except (StartFailed, ServiceError) as error:
        sys.exit(f"pilotlight: {error}")
    _print_table(table(starts))
    for cache in dict.fromkeys(start.cache for start in starts):
        print(f"\n{cache} page cache, medians")  # noqa: T201 - a command's output
        own = [start for start in starts if start.cache == cache]
        print("\n".join(picture(middle(own))))  # noqa: T201


# ── generated files ─────────────────────────────────────────────────────────────────────────────


def openapi(arguments: dict[str, Any]) -> None:
    """Write the document that a server with these settings publishes."""
    from pilotlight.api.docs import document_yaml  # noqa: PLC0415
    from pilotlight.api.document import build_document  # noqa: PLC0415
    from pilotlight.app import create_app  # noqa: PLC0415

    output = arguments.pop("output")
    settings = load_settings(arguments)
    document = build_document(
        create_app(settings), chat_completions_path=settings.chat_completions_path
    )
    _write(document_yaml(document).decode(), output)


def settings_table(arguments: dict[str, Any]) -> None:
    """Write the settings as docs/settings.md has them."""
    _write(render_settings(), arguments["output"])


def render_settings() -> str:
    """Return docs/settings.md: each setting's flag, variable, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Generated by `pilotlight settings`.",
        "A flag wins over its variable, a variable over the default.",
        "`PORT` sets the port too, and with it the host to `0.0.0.0`.",
        "A secret has no flag, for everybody on the machine can read a command line.",
        "",
        "| flag | variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(Settings):
        flag = "none" if is_secret(field.type) else f"`--{field.name.replace('_', '-')}`"
        variable = environment_name(field.name)
        default = _default(field.default)
        lines.append(f"| {flag} | `{variable}` | {default} | {description(field.type)} |")
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

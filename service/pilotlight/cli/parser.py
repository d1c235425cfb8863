"""The commands and their arguments."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotlight import __version__
from pilotlight.cli.bake import bake
from pilotlight.cli.bench.command import bench_cold_start, bench_streams
from pilotlight.cli.generated import openapi, settings_table
from pilotlight.cli.models import models
from pilotlight.cli.prompt_cache import clear_prompt_cache
from pilotlight.cli.pull import pull
from pilotlight.cli.serve import serve
from pilotlight.cli.settings_flags import add_setting, add_settings, flag_of
from pilotlight.config import Settings, is_secret

SHOWN_BY_BAKE = {
    *("models_file", "models_dir", "cache_dir", "backends", "special_tokens_in_content"),
    *("log_format", "log_level"),
    # A baked state fits only an engine that is loaded with the same options.
    *("cache_type_k", "cache_type_v", "context_length", "deterministic", "flash_attention"),
    *("kv_unified", "parallel", "speculation", "draft_max", "ngram_min", "threads"),
}
"""Settings that `bake` uses."""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of every command; `command` in what it parses is the function to call.

    With *only*, the other commands have no arguments: those of all take 7 ms of a start.
    """
    parser = argparse.ArgumentParser(
        prog="pilotlight", description="Serve language models behind the OpenAI and Anthropic APIs."
    )
    parser.add_argument("--version", action="version", version=f"pilotlight {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, add_arguments, summary in (
        ("serve", serve, add_settings, "serve the models over HTTP"),
        ("models", models, add_settings, "list the models and the backends that serve them"),
        ("pull", pull, _add_pull, "fetch a model into the models folder"),
        (
            "bake",
            bake,
            _add_bake,
            "prefill a system prompt once, and store its state beside the model",
        ),
        ("prompt-cache", None, _add_prompt_cache, "manage the cached prompts in storage"),
        ("bench", None, _add_benches, "measure the speed that clients of a server see"),
        ("openapi", openapi, _add_document, "write the OpenAPI document as YAML"),
        ("settings", settings_table, _add_output, "write the table of settings as Markdown"),
    ):
        sub = commands.add_parser(name, help=summary, description=_sentence(summary))
        sub.set_defaults(command=command)
        if only in (None, name):
            add_arguments(sub)
    return parser


def parse(argv: Sequence[str] | None) -> dict[str, Any]:
    """Return the arguments in *argv*; exits with status 2 if they are invalid."""
    argv = sys.argv[1:] if argv is None else argv
    first = argv[0] if argv else ""
    # An option before the command, such as --help, may need all of them.
    parser = build_parser(only=None if first.startswith("-") else first)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_suggestion(unknown[0])}")
    return vars(arguments)


def _suggestion(argument: str) -> str:
    """Return a question with the flag that *argument* may be a misspelling of, or ""."""
    fields = msgspec.structs.fields(Settings)
    flags = [flag_of(field) for field in fields if not is_secret(field.type)]
    close = difflib.get_close_matches(argument.partition("=")[0], flags, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="https://…, hf://OWNER/REPO[@REVISION]/FILE_OR_FOLDER, s3://… or gs://…",
    )
    parser.add_argument("--name", help="name of the model; by default from its file")
    parser.add_argument("--sha256", metavar="HEX", help="expected sha256 of the file")
    parser.add_argument(
        "--no-mmproj",
        action="store_true",
        help="do not fetch the projector (mmproj) that the Hub has near a GGUF file",
    )
    parser.add_argument(
        "--connections", metavar="N", default=8, type=int, help="concurrent connections [8]"
    )
    for field in msgspec.structs.fields(Settings):
        if field.name == "models_dir":
            add_setting(parser, field)


def _add_bake(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name of the model, as in requests")
    parser.add_argument(
        "--prompt", metavar="FILE", type=Path, required=True, help="file with the system prompt"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write; by default the one that `serve` reads: MODELFILE.baked beside the"
        " model, or `baked` in models.yaml",
    )
    add_settings(parser, shown=SHOWN_BY_BAKE)


def _add_prompt_cache(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    summary = "delete every cached prompt from the storage that the settings name"
    clear = actions.add_parser("clear", help=summary, description=_sentence(summary))
    clear.set_defaults(command=clear_prompt_cache)
    add_settings(clear, shown={"state_dir"})


def _add_benches(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for name, command, add_arguments, summary in (
        (
            "streams",
            bench_streams,
            _add_bench_streams,
            "measure a running server, Pilotlight or another",
        ),
        (
            "coldstart",
            bench_cold_start,
            _add_bench_cold_start,
            "measure cold starts, from exec to the first token",
        ),
    ):
        sub = kinds.add_parser(name, help=summary, description=_sentence(summary))
        sub.set_defaults(command=command)
        add_arguments(sub)


def _add_bench_cold_start(parser: argparse.ArgumentParser) -> None:
    _add_bench_arguments(
        parser,
        ("--model", "spark", "model to load"),
        ("--rounds", 5, "number of starts"),
        ("--prompt", "What is 2+2?", "prompt to send"),
    )
    parser.add_argument(
        "--drop-page-cache",
        action="store_true",
        help="repeat each start with an empty page cache, as on a new machine",
    )
    add_settings(parser)


def _add_bench_streams(parser: argparse.ArgumentParser) -> None:
    _add_bench_arguments(
        parser,
        ("--url", "http://127.0.0.1:8080/v1", "base URL of the API"),
        ("--model", "spark", "model to request"),
        ("--streams", "1,4,8", "concurrent streams, comma-separated counts"),
        ("--rounds", 3, "rounds for each count"),
        ("--prompt-words", 64, "words of each prompt"),
        ("--max-tokens", 48, "tokens of each answer"),
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
    add_settings(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FILE", help="file to write; by default standard output"
    )

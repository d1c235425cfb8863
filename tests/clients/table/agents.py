"""Clients that are commands: how each is configured, and how its outcome is checked."""

import json
from collections.abc import Callable

from tests.clients.table.outcome import Case
from tests.clients.table.running import Run

QUESTION = "What is the secret word in note.txt?"
NOTE = "The secret word is plover.\n"


def attempt(name: str, work: Callable[[], None]) -> Case:
    """Return the case *name*: *work* raises what is wrong."""
    try:
        work()
    except (AssertionError, RuntimeError, OSError, ValueError) as error:
        return Case(name, f"{type(error).__name__}: {error}")
    return Case(name)


def within(part: str, text: str) -> None:
    """Raise unless *part* is found in *text*."""
    if part not in text:
        raise AssertionError(f"expected {part!r} within {text!r}")


def claude_code(run: Run) -> list[Case]:
    """Ask Claude Code for what is in a file, which it has to read."""
    run.repository(note__txt=NOTE)
    variables = {
        "ANTHROPIC_BASE_URL": run.url,
        "ANTHROPIC_API_KEY": run.key,
        "ANTHROPIC_MODEL": run.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": run.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }

    def ask() -> None:
        told = run.command(
            "claude", "-p", QUESTION, "--allowedTools", "Read", "--output-format", "json",
            **variables,
        )  # fmt: skip
        answer = json.loads(told)
        within("plover", answer["result"])
        assert (answer["is_error"], answer["num_turns"]) == (False, 2), answer

    return [attempt("agent loop: reads a file", ask)]


def codex(run: Run) -> list[Case]:
    """Ask Codex for what is in a file, which it has to read by a command."""
    run.repository(note__txt=NOTE)
    config = run.home / ".codex/config.toml"
    config.parent.mkdir()
    config.write_text(f"""
model = "{run.model}"
model_provider = "pilotlight"
check_for_update_on_startup = false

[model_providers.pilotlight]
name = "Pilotlight"
base_url = "{run.base_url}"
env_key = "PILOTLIGHT_KEY"
wire_api = "responses"

[analytics]
enabled = false
""")

    def ask() -> None:
        told = run.command(
            "codex", "exec", "--dangerously-bypass-approvals-and-sandbox", QUESTION,
            PILOTLIGHT_KEY=run.key,
        )  # fmt: skip
        within("plover", told)

    return [attempt("agent loop: runs a command", ask)]


def opencode(run: Run) -> list[Case]:
    """Ask opencode for what is in a file, which it has to read."""
    models = {run.model: {"name": "Pilotlight"}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Pilotlight",
        "options": {"baseURL": run.base_url, "apiKey": run.key},
        "models": models,
    }
    config = {
        "autoupdate": False,
        "share": "disabled",
        "model": f"pilotlight/{run.model}",
        "provider": {"pilotlight": provider},
    }
    run.repository(note__txt=NOTE, opencode__json=json.dumps(config))

    def ask() -> None:
        told = run.command(
            "opencode", "run", QUESTION,
            OPENCODE_DISABLE_AUTOUPDATE="1", OPENCODE_DISABLE_MODELS_FETCH="1",
            OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        )  # fmt: skip
        within("plover", told)

    return [attempt("agent loop: reads a file", ask)]


def cline(run: Run) -> list[Case]:
    """Ask Cline for what is in a file, which it has to read."""
    run.repository(note__txt=NOTE)

    def ask() -> None:
        run.command(
            "cline", "auth", "-p", "openai-compatible", "-k", run.key, "-m", run.model,
            "-b", run.base_url,
        )  # fmt: skip
        within("plover", run.command("cline", "--json", QUESTION))

    return [attempt("agent loop: reads a file", ask)]


def aider(run: Run) -> list[Case]:
    """Have aider edit a file, and commit it."""
    run.repository(hello__py='def greet():\n    return "hello"\n')

    def edit() -> None:
        run.command(
            "aider", "--model", f"openai/{run.model}", "--edit-format", "diff", "--yes-always",
            "--no-analytics", "--no-check-update", "--no-show-release-notes",
            "--no-show-model-warnings", "--no-gitignore", "--no-auto-commits",
            "--message", "Greet with good morning", "hello.py",
            OPENAI_API_BASE=run.base_url, OPENAI_API_KEY=run.key,
        )  # fmt: skip
        within('return "good morning"', (run.folder / "hello.py").read_text())

    return [attempt("edits a file", edit)]


def llm(run: Run) -> list[Case]:
    """Ask the `llm` command, with a template of options and without."""
    models = run.home / ".config/io.datasette.llm/extra-openai-models.yaml"
    models.parent.mkdir(parents=True)
    models.write_text(f"""
- model_id: pilotlight
  model_name: {run.model}
  api_base: {run.base_url}
  supports_schema: true
  supports_tools: true
""")

    def ask(*arguments: str) -> str:
        return run.command("llm", "-m", "pilotlight", "--key", run.key, *arguments)

    def schema() -> None:
        told = json.loads(ask("--schema", "name, age int", "Ada Lovelace is 36 years old."))
        assert told == {"name": "Ada", "age": 36}, told

    code = 'def get_weather(city: str) -> str:\n    return f"18 degrees in {city}"\n'
    question = "What is the weather in Paris?"
    return [
        attempt("stream", lambda: within("Hello there.", ask("hi"))),
        attempt("whole answer", lambda: within("Hello there.", ask("--no-stream", "hi"))),
        attempt("schema", schema),
        attempt("tools", lambda: within("18 degrees", ask("--functions", code, question))),
    ]


def shell_gpt(run: Run) -> list[Case]:
    """Ask the `sgpt` command, streamed and not."""
    variables = {
        "API_BASE_URL": run.base_url,
        "OPENAI_API_KEY": run.key,
        "DEFAULT_MODEL": run.model,
        "OPENAI_USE_FUNCTIONS": "false",
    }

    def ask(*arguments: str) -> None:
        within("Hello there.", run.command("sgpt", "--no-cache", "hi", *arguments, **variables))

    return [attempt("stream", ask)]

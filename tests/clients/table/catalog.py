"""The clients of the table: their packages, what is run, and what the model answers.

This is the one place that has their versions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pilotlight_backend.testing.fake import Line
from tests.clients.table import agents, scripts
from tests.clients.table.outcome import Case
from tests.clients.table.running import Run


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client program or library; the first package is the one that the table names."""

    name: str
    packages: tuple[str, ...]
    """Each with its exact version: `name==version` on PyPI, `name@version` on npm."""
    run: str | Callable[[Run], list[Case]]
    """A program in `programs/`, or a function that starts the client itself."""
    script: tuple[Line, ...] = scripts.SDK
    """What the model answers."""
    in_tests: bool = False
    """Whether `make test` runs its program: the development environment has the packages, and no
    other test of the client."""

    @property
    def on_npm(self) -> bool:
        """Whether the packages are npm's."""
        return "==" not in self.packages[0]

    @property
    def key(self) -> str:
        """The name of its environment, and of its model."""
        return self.name.lower().replace(" ", "-")

    @property
    def version(self) -> str:
        """The version of its first package."""
        return self.packages[0].rpartition("@" if self.on_npm else "==")[2]


CLIENTS = (
    Client(
        name="Claude Code",
        packages=("@anthropic-ai/claude-code@2.1.332",),
        run=agents.claude_code,
        script=scripts.reading("Read", file_path="{folder}/note.txt"),
    ),
    Client(
        name="Codex CLI",
        packages=("@openai/codex@0.171.0",),
        run=agents.codex,
        script=scripts.reading("exec_command", cmd="cat note.txt"),
    ),
    Client(
        name="opencode",
        packages=("opencode-ai@1.18.33",),
        run=agents.opencode,
        script=scripts.reading("read", filePath="{folder}/note.txt"),
    ),
    Client(
        name="Cline",
        packages=("cline@3.0.65",),
        run=agents.cline,
        script=scripts.reading("read_files", files=[{"path": "{folder}/note.txt"}]),
    ),
    Client(
        name="aider",
        packages=("aider-chat==0.86.2",),
        run=agents.aider,
        script=scripts.EDITING,
    ),
    Client(
        name="llm",
        packages=("llm==0.36",),
        run=agents.llm,
    ),
    Client(
        name="AI SDK",
        packages=(
            "ai@7.0.173",
            "@ai-sdk/openai@4.0.118",
            "@ai-sdk/openai-compatible@3.0.92",
            "@ai-sdk/anthropic@4.0.105",
            "zod@4.6.7",
        ),
        run="ai_sdk.mjs",
    ),
    Client(
        name="LiteLLM",
        packages=("litellm==1.110.2",),
        run="litellm_tools.py",
    ),
    Client(
        name="instructor",
        packages=("instructor[anthropic]==1.17.0",),
        run="instructor_modes.py",
    ),
    Client(
        name="OpenAI Agents SDK",
        packages=("openai-agents==0.24.0",),
        run="openai_agents.py",
        in_tests=True,
    ),
    Client(
        name="Pydantic AI",
        packages=("pydantic-ai-slim[openai,anthropic]==2.68.0",),
        run="pydantic_ai_agents.py",
        in_tests=True,
    ),
    Client(
        name="LangChain",
        packages=("langchain==1.5.2", "langchain-openai==1.7.4", "langchain-anthropic==1.7.10"),
        run="langchain_models.py",
    ),
    Client(
        name="LlamaIndex",
        packages=("llama-index-llms-openai-like==0.8.1", "llama-index-core==0.14.25"),
        run="llama_index_agents.py",
    ),
    Client(
        name="smolagents",
        packages=("smolagents[openai]==1.26.0",),
        run="smolagents_agents.py",
    ),
    Client(
        name="Haystack",
        packages=("haystack-ai==3.4.1",),
        run="haystack_chat.py",
    ),
    Client(
        name="Semantic Kernel",
        packages=("semantic-kernel==1.45.0",),
        run="semantic_kernel_chat.py",
    ),
    Client(
        name="DSPy",
        packages=("dspy==3.4.1",),
        run="dspy_modules.py",
    ),
    Client(
        name="shell-gpt",
        packages=("shell-gpt==1.5.1", "click==8.5.1"),
        run=agents.shell_gpt,
    ),
)

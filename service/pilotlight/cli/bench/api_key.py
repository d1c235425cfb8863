"""The API key that measurements send: from the environment, never from a command line."""

from collections.abc import Mapping

from pilotlight.config import ConfigError

VARIABLE = "OPENAI_API_KEY"
"""What OpenAI's own clients read; a peer's server is asked with it too."""


def key_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the header that carries the key of *environ*; none where it is unset or empty.

    Raises `ConfigError` where it cannot stand in a header, and does not repeat it: HTTP clients
    tell the whole header in their errors.
    """
    key = environ.get(VARIABLE, "").strip()
    if not key:
        return {}
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(f"{VARIABLE}: expected printable ASCII without spaces")
    return {"Authorization": f"Bearer {key}"}

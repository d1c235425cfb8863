"""Settings, and how flags, variables and defaults become one `Settings`."""

from pilotlight.config.kinds import (
    CHAT_COMPLETIONS_PATH,
    CacheType,
    ConfigError,
    Count,
    DraftTokens,
    FlashAttention,
    Isolation,
    MatchTokens,
    Seconds,
    Secret,
    Speculation,
    parse_size,
)
from pilotlight.config.loading import PREFIX, environment_name, is_secret, load_settings
from pilotlight.config.settings import Settings
from pilotlight.config.state_dir import state_address

__all__ = [
    "CHAT_COMPLETIONS_PATH",
    "PREFIX",
    "CacheType",
    "ConfigError",
    "Count",
    "DraftTokens",
    "FlashAttention",
    "Isolation",
    "MatchTokens",
    "Seconds",
    "Secret",
    "Settings",
    "Speculation",
    "environment_name",
    "is_secret",
    "load_settings",
    "parse_size",
    "state_address",
]

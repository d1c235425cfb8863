"""The settings: each field of `Settings` is a flag and a `PILOTLIGHT_…` variable.

Its fields are in several classes, each the base of the next: that is their order in the help and in
docs/settings.md.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from pilotlight.config.kinds import HeaderName, Seconds, Secret, Url, Word
from pilotlight.config.request_settings import RequestSettings


class Settings(RequestSettings, frozen=True, kw_only=True):
    """The settings of `pilotlight serve`: also who may send requests, shutdown and logs."""

    api_keys_file: Annotated[
        Path | None,
        Meta(
            description="File of API keys, one a line: `name:key` or `name:sha256:HEX`. It is"
            " reloaded when it changes."
        ),
    ] = None
    api_keys: Annotated[
        Secret | None,
        Meta(
            description="API keys, comma-separated: as in the file, or without names, which are"
            " then `key-1`, `key-2` and so on."
        ),
    ] = None
    failed_keys_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Wrong API keys a minute that one address may send before it gets a 429; 0:"
            " unlimited.",
        ),
    ] = 60
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks of proxies that sign users in, comma-separated, such as"
            " `10.0.0.0/8`. The two headers below are trusted from there only."
        ),
    ] = ()
    user_header: Annotated[
        HeaderName, Meta(description="Header in which a trusted proxy sends the name of the user.")
    ] = "X-Forwarded-User"
    groups_header: Annotated[
        HeaderName, Meta(description="Header in which it sends the groups of the user.")
    ] = "X-Forwarded-Groups"
    groups_separator: Annotated[
        Literal[",", "|", ";"],
        Meta(description="Separator between the groups in that header."),
    ] = ","
    required_group: Annotated[
        Word | None,
        Meta(description="Group that users of a proxy must belong to; by default none."),
    ] = None
    grace: Annotated[
        Seconds, Meta(description="Seconds that requests in flight may continue after SIGTERM.")
    ] = 8.0
    log_format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="`auto` writes JSON if standard error is not a terminal."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged."),
    ] = "info"
    otlp_endpoint: Annotated[
        Url | None,
        Meta(
            description="URL of an OpenTelemetry collector for traces, OTLP over HTTP, without"
            " `/v1/traces`; `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too."
        ),
    ] = None

"""Load the settings from flags, `PILOTLIGHT_…` variables and defaults, in this order."""

import difflib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from pilotlight.config.expected import expected
from pilotlight.config.kinds import ConfigError, Secret
from pilotlight.config.settings import Settings
from pilotlight.deployment import detect

PREFIX = "PILOTLIGHT_"
_OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's own name, which platforms set for every container."""


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Build the settings from *flags* (those given, by field name) and *environ*.

    Raises `ConfigError` naming the flag or variable at fault.
    """
    given = {**_platform(environ), **_from_environ(environ)}
    given |= {name: (_flag(name), value) for name, value in flags.items()}
    values = {name: _convert(name, value, origin) for name, (origin, value) in given.items()}
    return msgspec.structs.replace(_defaults(), **values)


def _defaults() -> Settings:
    """Return the defaults; their `~` stays if there is no home folder, as in some containers."""
    defaults = Settings()
    with suppress(RuntimeError):
        return msgspec.structs.replace(
            defaults,
            models_file=defaults.models_file.expanduser(),
            models_dir=defaults.models_dir.expanduser(),
            cache_dir=defaults.cache_dir.expanduser(),
        )
    return defaults


def environment_name(field: str) -> str:
    """Return the variable that sets *field*."""
    return PREFIX + field.upper()


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _platform(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the defaults of the platform, with their source.

    Cloud Run and Knative set `PORT`, and connect from outside the container.
    """
    profile = detect(environ)
    given: dict[str, tuple[str, str]] = {"platform": (profile.why, profile.platform)}
    if profile.hold is not None:
        given["hold"] = (profile.why, str(profile.hold))
    if profile.max_retry_after is not None:
        given["max_retry_after"] = (profile.why, str(profile.max_retry_after))
    if environ.get("PORT"):
        given |= {"port": ("PORT", environ["PORT"]), "host": ("PORT", "0.0.0.0")}  # noqa: S104 - a container's only way in
    if environ.get(_OTLP_ENDPOINT):
        given["otlp_endpoint"] = (_OTLP_ENDPOINT, environ[_OTLP_ENDPOINT])
    return given


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    given = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or _is_service_link(variable, value):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.__struct_fields__:
            raise ConfigError(f"{variable}: unknown setting{_suggestion(name)}")
        given[name] = (variable, value)
    return given


_SERVICE_LINK = re.compile(
    r"PILOTLIGHT(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)


def _is_service_link(variable: str, value: str) -> bool:
    """Return whether Kubernetes set *variable* because a Service is named `pilotlight…`.

    It then injects PILOTLIGHT_SERVICE_HOST, PILOTLIGHT_PORT=tcp://… and the like into every pod of
    the namespace (kubernetes.io, "Accessing the Service", environment variables).
    """
    is_address = variable.endswith("_PORT") and "://" in value
    return is_address or _SERVICE_LINK.fullmatch(variable) is not None


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
    return f"; did you mean {environment_name(close[0])}?" if close else ""


_HINTS = msgspec.structs.fields(Settings)


def _convert(name: str, value: Any, origin: str) -> Any:
    kind = next(field.type for field in _HINTS if field.name == name)
    shown = "its value" if is_secret(kind) else repr(value)
    if isinstance(value, str):
        value = value.strip()  # a variable that was read from a file may end with a newline
        if _is_list(kind):
            value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at ")[0]
        if reason.startswith(
            ("Expected ", "Invalid enum value")
        ):  # else the message is `_decode`'s
            reason = f"expected {expected(kind)}"
        raise ConfigError(f"{origin}: {shown} is invalid: {reason}") from None


def _decode(kind: type, text: str) -> Path | Secret:
    if kind is Secret:
        return Secret(text)
    if not text:  # it would be the working directory
        raise ValueError("it must not be empty")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no home folder to expand its ~") from None


def _is_list(kind: Any) -> bool:
    return get_origin(_bare(kind)) is tuple


def is_secret(kind: Any) -> bool:
    """Return whether a setting of this type is a secret, which has a variable and no flag.

    Other users of the machine can read a command line.
    """
    return Secret in get_args(_bare(kind))


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind

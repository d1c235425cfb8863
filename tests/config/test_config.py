"""Settings: flags over variables over defaults, and one line for what is wrong."""

from pathlib import Path

import msgspec
import pytest

from pilotlight.config import (
    ConfigError,
    Settings,
    environment_name,
    load_settings,
    parse_size,
)


def test_defaults_suit_one_machine(monkeypatch):
    """Without anything given the server listens here, and looks in the home folder."""
    monkeypatch.setenv("HOME", "/home/me")
    settings = load_settings({}, {})
    assert (settings.host, settings.port, settings.hold) == ("127.0.0.1", 8080, 10.0)
    assert settings.models_file == Path("/home/me/.core/models.yaml")
    assert settings.models_dir == Path("/home/me/.core/models")
    assert (settings.preload, settings.memory_budget_bytes, settings.idle_ttl) == ((), None, 0.0)


def test_flag_wins_over_variable_over_default():
    """Each layer is laid over the one below, setting by setting."""
    environ = {"PILOTLIGHT_PORT": "1001", "PILOTLIGHT_PARALLEL": "2"}
    settings = load_settings({"port": "1002"}, environ)
    assert (settings.port, settings.parallel, settings.max_queue) == (1002, 2, 256)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("PILOTLIGHT_MODELS_DIR", "/m", Path("/m")),
        ("PILOTLIGHT_MODELS_FILE", "~/m.yaml", Path("/home/me/m.yaml")),
        ("PILOTLIGHT_CONTEXT_LENGTH", "2048", 2048),
        ("PILOTLIGHT_PRELOAD", "spark, org/name:tag ,", ("spark", "org/name:tag")),
        ("PILOTLIGHT_PRELOAD", "", ()),
        ("PILOTLIGHT_HOLD", "0", 0.0),
        ("PILOTLIGHT_HOLD", "2.5", 2.5),
        ("PILOTLIGHT_CHAT_COMPLETIONS", "false", False),
        ("PILOTLIGHT_CHAT_COMPLETIONS", "1", True),
        ("PILOTLIGHT_CHAT_COMPLETIONS_PATH", "/api/v2/chat", "/api/v2/chat"),
        ("PILOTLIGHT_UNKNOWN_FIELDS", "ignore", "ignore"),
        ("PILOTLIGHT_MEMORY_BUDGET", "6GiB\n", "6GiB"),
        ("PILOTLIGHT_THREADS", " 3 ", 3),
        ("PILOTLIGHT_API_KEYS_FILE", "~/keys", Path("/home/me/keys")),
        ("PILOTLIGHT_TRUSTED_PROXIES", "10.0.0.0/8, fd00::1", ("10.0.0.0/8", "fd00::1")),
    ],
)
def test_variables_are_converted(monkeypatch, variable, text, value):
    """A variable's text becomes what its setting is; a list is separated by commas."""
    monkeypatch.setenv("HOME", "/home/me")
    settings = load_settings({}, {variable: text})
    assert getattr(settings, variable.removeprefix("PILOTLIGHT_").lower()) == value


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_has_a_variable(field):
    """The variable's name is the field's, in capitals, with the prefix."""
    assert environment_name(field) == f"PILOTLIGHT_{field.upper()}"
    value = getattr(Settings(), field)
    given = "http://x" if field == "otlp_endpoint" else "1"
    text = "" if value == () else given if value is None else str(value)
    load_settings({}, {environment_name(field): text})


def test_platforms_port_opens_the_server_to_the_outside():
    """`PORT` sets the port and with it the host, as container platforms expect."""
    settings = load_settings({}, {"PORT": "9000"})
    assert (settings.port, settings.host) == (9000, "0.0.0.0")  # noqa: S104 - what is expected


def test_own_names_win_over_the_platforms():
    """Our variables and flags are the more exact wish."""
    environ = {"PORT": "9000", "PILOTLIGHT_PORT": "9001", "PILOTLIGHT_HOST": "::1"}
    settings = load_settings({}, environ)
    assert (settings.port, settings.host) == (9001, "::1")
    assert load_settings({"host": "127.0.0.1"}, {"PORT": "9000"}).host == "127.0.0.1"
    assert load_settings({}, {"PORT": ""}).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PILOTLIGHT_SERVICE_HOST", "10.0.0.1"),
        ("PILOTLIGHT_SERVICE_PORT", "80"),
        ("PILOTLIGHT_SERVICE_PORT_HTTP", "80"),
        ("PILOTLIGHT_PORT", "tcp://10.0.0.1:80"),
        ("PILOTLIGHT_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PILOTLIGHT_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PILOTLIGHT_00001_PRIVATE_SERVICE_HOST", "10.0.0.1"),
        ("PILOTLIGHT_GEMMA_PORT", "tcp://10.0.0.1:80"),
        ("PILOTLIGHT_GEMMA_PORT_9090_UDP_PROTO", "udp"),
        ("PILOTLIGHT_GEMMA_SERVICE_PORT_HTTP_USER", "80"),
    ],
)
def test_variables_of_kubernetes_are_no_settings(variable, value):
    """Services named `pilotlight` or `pilotlight-…` put variables into every pod beside them."""
    assert load_settings({}, {variable: value}) == load_settings({}, {})


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("PILOTLIGHT_PARALEL", "; did you mean PILOTLIGHT_PARALLEL?"),
        ("PILOTLIGHT_MODEL_DIR", "; did you mean PILOTLIGHT_MODELS_DIR?"),
        ("PILOTLIGHT_XYZZY", ""),
        ("PILOTLIGHT_", ""),
        ("PILOTLIGHT_PORT_HTTP", "; did you mean PILOTLIGHT_PORT?"),
    ],
)
def test_unknown_variable_is_refused_by_name(variable, message):
    """A misspelled variable is noticed, and the nearest name is suggested."""
    with pytest.raises(ConfigError) as caught:
        load_settings({}, {variable: "1"})
    assert str(caught.value) == f"{variable}: unknown setting{message}"


def test_other_variables_are_none_of_ours():
    """What does not begin with the prefix is left alone."""
    assert load_settings({}, {"PILOTLIGHTS": "x", "HOST": "h", "HOLD": "x"}) == load_settings(
        {}, {}
    )


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "http"),
        ("port", ""),
        ("parallel", "0"),
        ("parallel", "2.5"),
        ("parallel", "9" * 5000),
        ("context_length", "0"),
        ("threads", "many"),
        ("hold", "-1"),
        ("hold", "46"),
        ("hold", "nan"),
        ("idle_ttl", "inf"),
        ("grace", "-0.1"),
        ("grace", "1e400"),
        ("max_queue", "0"),
        ("max_request_bytes", "10MB"),
        ("max_messages", "0"),
        ("max_tools", "1025"),
        ("max_stops", "17"),
        ("max_stop_length", "0"),
        ("max_n", "129"),
        ("max_schema_bytes", "131073"),
        ("max_schema_depth", "65"),
        ("memory_budget", "lots"),
        ("memory_budget", "6gb"),
        ("memory_budget", "-6GB"),
        ("memory_budget", "6 G B"),
        ("memory_budget", "1.GiB"),
        ("unknown_fields", "drop"),
        ("chat_completions", "maybe"),
        ("chat_completions_path", "v1/chat"),
        ("chat_completions_path", "/"),
        ("chat_completions_path", "/v1/{model}"),
        ("user_header", "X Forwarded User"),
        ("groups_header", "X-Groups:"),
        ("groups_separator", "/"),
        ("required_group", ""),
        ("log_format", "xml"),
        ("log_level", "LOUD"),
        ("memory_budget", "9" * 400 + "GB"),
        ("models_dir", "~nobody-lives-here/m"),
        ("models_dir", ""),
        ("lora_dir", " "),
    ],
)
def test_bad_value_is_refused_by_name(field, text):
    """One line names the variable or the flag, and the value."""
    variable = environment_name(field)
    flag = "--" + field.replace("_", "-")
    for name, given, environ in ((variable, {}, {variable: text}), (flag, {field: text}, {})):
        with pytest.raises(ConfigError) as caught:
            load_settings(given, environ)
        assert str(caught.value).startswith(f"{name}: {text!r} is invalid: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("port", "abc", "an integer from 0 to 65535"),
        ("port", "70000", "an integer from 0 to 65535"),
        ("parallel", "0", "an integer, at least 1"),
        ("hold", "46", "a number from 0 to 45"),
        ("max_schema_bytes", "131073", "an integer from 1 to 131072"),
        ("log_format", "xml", "one of auto, text, json"),
        ("groups_separator", "/", "one of ',' '|' ';'"),
        ("chat_completions", "maybe", "true or false"),
        ("memory_budget", "6gb", "a size, such as 6GB or 512MiB"),
        ("otlp_endpoint", "collector:4318", "an address, such as http://localhost:4318"),
        ("cors_origins", "a.b:3000", "origins without a path, such as http://localhost:3000, or *"),
    ],
)
def test_a_refusal_says_what_is_expected(flag, text, words):
    """In words: neither a pattern nor the name of a type."""
    with pytest.raises(ConfigError) as caught:
        load_settings({flag: text}, {})
    assert str(caught.value).endswith(f": {text!r} is invalid: expected {words}")


def test_bad_port_of_the_platform_is_refused_by_name():
    """The variable at fault is the one that was set."""
    with pytest.raises(ConfigError, match=r"^PORT: 'x' is invalid"):
        load_settings({}, {"PORT": "x"})


def test_container_without_a_home_folder_starts(monkeypatch):
    """Without a home folder the default paths stay as they are, and have no models."""

    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    settings = load_settings({}, {})
    assert settings.models_dir == Path("~/.core/models")
    with pytest.raises(
        ConfigError, match=r"^--models-dir: '~/m' is invalid: there is no home folder"
    ):
        load_settings({"models_dir": "~/m"}, {})


def test_a_secret_is_shown_to_nobody():
    """Neither with its settings nor in an error, where the text has to be asked for."""
    settings = load_settings({}, {"PILOTLIGHT_API_KEYS": " ann:s3cret\n"})
    assert settings.api_keys.reveal() == "ann:s3cret"
    assert "s3cret" not in repr(settings) + str(settings.api_keys)
    assert "api_keys=Secret(…)" in repr(settings)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_secret_is_refused(text):
    """A user who sets it wants a closed server; a failed mount would leave it open."""
    with pytest.raises(
        ConfigError, match=r"^PILOTLIGHT_API_KEYS: its value is invalid: it must not be empty$"
    ):
        load_settings({}, {"PILOTLIGHT_API_KEYS": text})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("5B", 5),
        ("2K", 2000),
        ("2kB".upper(), 2000),
        ("512MiB", 512 * 2**20),
        ("512Mi", 512 * 2**20),
        ("6GB", 6_000_000_000),
        ("6 GiB", 6 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("2T", 2_000_000_000_000),
        ("0.5TiB", 2**39),
        ("6\tGB", 6_000_000_000),
    ],
)
def test_sizes_have_decimal_and_binary_units(text, size):
    """K is 1000 and Ki 1024; the B may be left out."""
    assert parse_size(text) == size
    assert load_settings({"memory_budget": text}, {}).memory_budget_bytes == size

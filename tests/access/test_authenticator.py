"""Who is calling, as the settings say."""

from pathlib import Path

import pytest

from pilotlight.access import ANONYMOUS, Authenticator, Caller
from pilotlight.config import ConfigError, Secret, Settings
from pilotlight.errors import InvalidApiKey

PROXY = "10.1.2.3"
ELSEWHERE = "198.51.100.9"
ANN = (b"x-forwarded-user", b"ann")


def key(text: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {text}".encode())


def authenticator(**settings) -> Authenticator:
    return Authenticator(Settings(**settings), clock=lambda: 0.0)


def test_without_keys_and_proxies_everybody_may_call():
    """Whatever keys requests present, they are not checked."""
    open_door = authenticator()
    assert not open_door.closed
    assert open_door.authenticate([key("x"), (b"x-api-key", b"y"), ANN], PROXY) == ANONYMOUS


def test_keys_of_both_settings_are_known(tmp_path: Path):
    """By their names."""
    (tmp_path / "keys").write_text("bob:two")
    known = authenticator(api_keys=Secret("one"), api_keys_file=tmp_path / "keys")
    assert known.closed
    assert known.authenticate([key("one")], None) == Caller("key-1", "key")
    assert known.authenticate([(b"x-api-key", b"two")], None) == Caller("bob", "key")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "an API key is required"),
        ([(b"authorization", b"Basic b25l")], "an API key is required"),
        ([key("s3cret")], "the API key is unknown"),
        ([key("one"), (b"x-api-key", b"s3cret")], "the request carries more than one API key"),
        ([ANN], "an API key is required"),
    ],
)
def test_who_is_not_known_is_refused(headers, reason):
    """The reason has no key in it, neither a right one nor a wrong one."""
    with pytest.raises(InvalidApiKey) as refused:
        authenticator(api_keys=Secret("one")).authenticate(headers, PROXY)
    assert refused.value.message.startswith(reason)
    assert "s3cret" not in refused.value.message


def test_a_proxys_user_needs_no_key():
    """And a wrong one does no harm: proxies pass on tokens of their own."""
    known = authenticator(api_keys=Secret("one"), trusted_proxies=("10.1.0.0/16",))
    assert known.authenticate([ANN], PROXY) == Caller("ann", "proxy")
    assert known.authenticate([ANN, key("of-a-session")], PROXY) == Caller("ann", "proxy")


def test_who_calls_past_the_proxy_needs_a_key():
    """And so does a request of the proxy itself without a user."""
    known = authenticator(api_keys=Secret("one"), trusted_proxies=("10.1.0.0/16",))
    assert known.authenticate([ANN, key("one")], ELSEWHERE) == Caller("key-1", "key")
    assert known.authenticate([key("one")], PROXY) == Caller("key-1", "key")
    for headers, peer in (([ANN], ELSEWHERE), ([], PROXY), ([ANN], None)):
        with pytest.raises(InvalidApiKey, match="an API key is required"):
            known.authenticate(headers, peer)


def test_proxies_alone_close_the_server():
    """There is no key that would help then, so none is asked for."""
    known = authenticator(trusted_proxies=("10.1.0.0/16",))
    assert known.closed
    assert known.authenticate([ANN], PROXY) == Caller("ann", "proxy")
    with pytest.raises(InvalidApiKey, match="accepts only users that its proxy"):
        known.authenticate([ANN], ELSEWHERE)


@pytest.mark.parametrize("groups", [b"users", b"", b"admins2", b"Admins", b"users|admins"])
def test_a_user_without_the_group_is_refused(groups):
    """A group is named exactly; a key is still good."""
    known = authenticator(
        api_keys=Secret("one"), trusted_proxies=("10.1.0.0/16",), required_group="admins"
    )
    headers = [ANN, (b"x-forwarded-groups", groups)]
    with pytest.raises(InvalidApiKey, match=r"^the user 'ann' is not in the group 'admins'$"):
        known.authenticate(headers, PROXY)
    assert known.authenticate([*headers, key("one")], PROXY) == Caller("key-1", "key")


def test_a_user_with_the_group_is_let_in():
    """The caller has all groups."""
    known = authenticator(trusted_proxies=("10.1.0.0/16",), required_group="admins")
    headers = [ANN, (b"x-forwarded-groups", b"users, admins")]
    assert known.authenticate(headers, PROXY) == Caller("ann", "proxy", ("users", "admins"))


def test_header_names_are_settings():
    """Written as people write them; requests have them in lower case."""
    known = authenticator(
        trusted_proxies=("10.1.0.0/16",),
        user_header="X-authentik-username",
        groups_header="X-authentik-groups",
        groups_separator="|",
    )
    headers = [(b"x-authentik-username", b"ann"), (b"x-authentik-groups", b"a|b")]
    assert known.authenticate(headers, PROXY) == Caller("ann", "proxy", ("a", "b"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"api_keys": Secret("one,é:s3cret")},
            r"^PILOTLIGHT_API_KEYS: entry 2: expected a name",
        ),
        (
            {"api_keys_file": Path("/nonexistent/keys")},
            r"^--api-keys-file: /nonexistent/keys: cannot be read: No such file or directory$",
        ),
        (
            {"trusted_proxies": ("10.0.0.0/8", "10.0.0.1/8")},
            r"^--trusted-proxies: 10.0.0.1/8 has host bits set$",
        ),
        (
            {"required_group": "admins"},
            r"^--required-group: --trusted-proxies is required too$",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    """In one line without a key."""
    with pytest.raises(ConfigError, match=message) as refused:
        authenticator(**settings)
    assert "s3cret" not in str(refused.value)


def test_a_bad_line_is_refused_by_file_and_number(tmp_path: Path):
    """As `serve` says it."""
    (tmp_path / "keys").write_text("ann:one\ns3cret\n")
    with pytest.raises(ConfigError) as refused:
        authenticator(api_keys_file=tmp_path / "keys")
    assert str(refused.value) == (
        f"--api-keys-file: {tmp_path / 'keys'}: line 2: expected name:key or name:sha256:HEX"
    )

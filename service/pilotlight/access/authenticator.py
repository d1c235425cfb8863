"""Authenticate requests as the settings say."""

from collections.abc import Callable, Sequence

from pilotlight.access.caller import ANONYMOUS, Caller
from pilotlight.access.failed_keys import FailedKeys
from pilotlight.access.key_file import KeyFile
from pilotlight.access.keys import ApiKey, InvalidKeys, name_of, presented, read_entries
from pilotlight.access.proxies import TrustedProxies, network
from pilotlight.config import ConfigError, Settings, environment_name
from pilotlight.errors import InvalidApiKey, RateLimited

Headers = Sequence[tuple[bytes, bytes]]


class Authenticator:
    """Checks API keys and trusted proxies. Without either setting every request is accepted."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        """Read the keys; raises `ConfigError`, without any key in its message."""
        self._keys = _keys(settings)
        self._file = _key_file(settings, self._keys, clock)
        self._proxies = _proxies(settings)
        self._failed = FailedKeys(settings.failed_keys_per_minute)
        self._clock = clock
        self._required_group = settings.required_group
        if self._required_group is not None and self._proxies is None:
            raise ConfigError("--required-group: --trusted-proxies is required too")

    @property
    def has_keys(self) -> bool:
        """Whether API keys are configured."""
        return bool(self._keys) or self._file is not None

    @property
    def trusts_proxies(self) -> bool:
        """Whether proxies may sign users in."""
        return self._proxies is not None

    @property
    def closed(self) -> bool:
        """Whether requests must be authenticated."""
        return self.has_keys or self.trusts_proxies

    def authenticate(self, headers: Headers, peer: str | None) -> Caller:
        """Return the caller of a request with *headers*, lower-case names, from the address *peer*.

        A user that a trusted proxy has signed in needs no key. Raises `InvalidApiKey`, or
        `RateLimited` after too many wrong keys from the same address.
        """
        if not self.closed:
            return ANONYMOUS
        user = None if self._proxies is None else self._proxies.user(headers, peer)
        if user is not None and self._has_group(user):
            return user
        keys = presented(headers)
        if len(keys) == 1:
            (key,) = keys
            name = name_of(key, self._valid_keys())
            if name is not None:
                return Caller(name, "key")
            self._note_failure(headers, peer)
        raise InvalidApiKey(self._reason(len(keys), user))

    def _note_failure(self, headers: Headers, peer: str | None) -> None:
        address = peer if self._proxies is None else self._proxies.client(headers, peer)
        wait = self._failed.fail(address, self._clock())
        if wait:
            raise RateLimited("too many wrong API keys from this address", retry_after=wait)

    def _has_group(self, user: Caller) -> bool:
        return self._required_group is None or self._required_group in user.groups

    def _valid_keys(self) -> Sequence[ApiKey]:
        return self._keys if self._file is None else (*self._keys, *self._file.current())

    def _reason(self, keys: int, user: Caller | None) -> str:
        if keys > 1:
            return "the request carries more than one API key"
        if keys == 1:
            return "the API key is unknown"
        if user is not None:
            return f"the user {user.name!r} is not in the group {self._required_group!r}"
        if not self.has_keys:
            return "this server accepts only users that its proxy has signed in"
        return "an API key is required: Authorization: Bearer KEY, or x-api-key: KEY"


def _keys(settings: Settings) -> Sequence[ApiKey]:
    if settings.api_keys is None:
        return ()
    try:
        return read_entries(settings.api_keys.reveal())
    except InvalidKeys as error:
        raise ConfigError(f"{environment_name('api_keys')}: {error}") from None


def _key_file(
    settings: Settings, others: Sequence[ApiKey], clock: Callable[[], float]
) -> KeyFile | None:
    if settings.api_keys_file is None:
        return None
    try:
        return KeyFile(settings.api_keys_file, others, clock=clock)
    except InvalidKeys as error:
        raise ConfigError(f"--api-keys-file: {settings.api_keys_file}: {error}") from None


def _proxies(settings: Settings) -> TrustedProxies | None:
    if not settings.trusted_proxies:
        return None
    try:
        networks = [network(text) for text in settings.trusted_proxies]
    except ValueError as error:  # its message names the address
        raise ConfigError(f"--trusted-proxies: {error}") from None
    return TrustedProxies(
        networks=networks,
        user_header=settings.user_header.lower().encode(),
        groups_header=settings.groups_header.lower().encode(),
        separator=settings.groups_separator,
    )

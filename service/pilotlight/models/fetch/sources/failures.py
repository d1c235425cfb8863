"""Map what the libraries of sources raise, and statuses of HTTP, to the failures of a fetch."""

import logging

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed, Interrupted

logger = logging.getLogger(__name__)

_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError"})
"""Class names of botocore, which is not imported here."""


class MappedFailures:
    """Maps the errors of the libraries to those of a fetch.

    Their messages contain endpoints and keys: they are logged, and not sent to clients.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, Interrupted | FetchFailed):
            return
        status = _status(error)
        if isinstance(error, FileNotFoundError) or status == 404:  # noqa: PLR2004
            reason = "no such file or folder, or no access to it"
            raise FetchFailed(f"{self._address}: {reason}", permanent=True) from None
        if type(error).__name__ in _NO_CREDENTIALS:
            raise refused(self._address, 401) from None
        if isinstance(error, PermissionError) or status in (401, 403):
            raise refused(self._address, status or 403) from None
        if isinstance(error, ValueError | NotImplementedError):
            raise FetchFailed(f"{self._address}: {error}", permanent=True) from None
        logger.info("%s: %s: %s", self._address, type(error).__name__, error)
        raise Interrupted(f"failed with {type(error).__name__}") from None


def _status(error: Exception) -> int | None:
    """Return the HTTP status of *error*, if it has one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    status = str(status or getattr(error, "code", None))
    return int(status) if status.isdecimal() else None


def refused(address: Address, status: int) -> FetchFailed:
    """Return the failure of a response with an error's *status*."""
    meaning = {401: "credentials are required", 403: "access is denied", 404: "no such file"}
    reason = f"{meaning.get(status, 'the server refused')} ({status})"
    if address.scheme == "hf" and status in (401, 403):
        reason += "; for a private or gated repository set HF_TOKEN"
    return FetchFailed(f"{address}: {reason}", permanent=True)

"""The errors of a fetch. A module of its own, so that reporting them imports no source."""


class FetchFailed(Exception):
    """A model could not be fetched; the message is one line, and free of secrets.

    The bytes that were fetched stay for the next attempt, unless they are wrong.
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent
        """Whether a retry fails too, until the cause is fixed."""


class Interrupted(Exception):
    """A temporary failure of a source, such as a lost connection or a 503: the read is retried."""


class SourceChanged(Exception):
    """The source has changed since the fetch began: discard the bytes that were fetched."""

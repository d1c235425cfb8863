"""What a fetch raises."""


class FetchFailed(Exception):
    """A model could not be fetched; the message is one line, and free of secrets.

    What was fetched of it stays for the next try, except where it proved to be wrong.
    """

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent
        """Whether another try would fail too, as long as nobody mends the cause."""


class Interrupted(Exception):
    """A source failed in a way that passes: a lost connection, a 503. It is asked again."""


class SourceChanged(Exception):
    """The source is not what it was when the fetch began; what is there of it is worthless."""

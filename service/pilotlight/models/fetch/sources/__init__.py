"""The sources of a fetch: HTTP, the Hugging Face Hub, and buckets.

Only these modules import the libraries of sources, when a source is opened.
"""

from collections.abc import Callable

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed
from pilotlight.models.fetch.sources.buckets import BucketSource
from pilotlight.models.fetch.sources.http import HttpSource
from pilotlight.models.fetch.sources.hub import HubSource
from pilotlight.models.fetch.sources.source import Listing, RemoteFile, Source

__all__ = ["HubSource", "Listing", "RemoteFile", "Source", "open_source"]


def open_source(address: Address) -> Source:
    """Return the source of *address*; call it on the loop that uses it.

    Raises `FetchFailed` if its library is not installed.
    """
    kinds: dict[str, Callable[[Address], Source]] = {
        "https": HttpSource,
        "http": HttpSource,
        "hf": HubSource,
        "s3": BucketSource,
        "gs": BucketSource,
    }
    extra = {"s3": "s3", "gs": "gs"}.get(address.scheme, "pull")
    try:
        return kinds[address.scheme](address)
    except ImportError as error:
        raise FetchFailed(
            f"{address}: {error.name} is not installed: pip install 'pilotlight[{extra}]'",
            permanent=True,
        ) from None

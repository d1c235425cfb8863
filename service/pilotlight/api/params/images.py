"""Images of requests, whichever API they come through."""

from pilotlight.prompt.conversation import ImageReference


def image_at(
    url: str, param: str, detail: str | None = None, *, may_be_scaled: bool = True
) -> ImageReference:
    """Return the image at *url*, which is at the path *param* of a request."""
    return ImageReference(url, param, low_detail=detail == "low", may_be_scaled=may_be_scaled)


def image_in(base64: str, param: str, *, may_be_scaled: bool = True) -> ImageReference:
    """Return the image in *base64*, which is at the path *param* of a request."""
    return ImageReference(base64, param, base64=True, may_be_scaled=may_be_scaled)

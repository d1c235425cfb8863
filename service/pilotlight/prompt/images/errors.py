"""Errors of images, without the path of the part that has the image: the caller adds it.

ImageError
├── ImageRefused      the image is of no known format, damaged, or over a limit
└── FetchFailed       its address is not allowed, or the image was not received
"""


class ImageError(Exception):
    """An image cannot be used; the message is for the client, and has nothing of the image."""


class ImageRefused(ImageError):
    """The image is of no known format, is damaged, or exceeds a limit."""


class FetchFailed(ImageError):
    """The image's address is not allowed, or the image was not received from there."""

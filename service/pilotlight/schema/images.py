"""What image parts of several APIs have in common."""

from typing import Literal, TypeAlias

from msgspec import Meta

ImageDetail: TypeAlias = Literal["auto", "low", "high", "original"]

IMAGE_URL = Meta(
    description="A data URL (`data:image/png;base64,…`) of a PNG, JPEG, WebP, GIF or BMP image, or"
    " an `https://` URL where the setting `image_urls` allows its host."
)
IMAGE_DETAIL = Meta(
    description="With `low` the model gets the image with a longest side of 512 pixels; any other"
    " value has no effect."
)

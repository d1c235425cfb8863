"""The images of a request's conversations: fetched before it waits, decoded when its turn comes."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import Struct, structs

from pilotlight.config import Settings
from pilotlight.errors import ImagesUnsupported, InvalidImage, InvalidImageUrl, InvalidRequest
from pilotlight.generation.params import ChatPrompt, Prompt
from pilotlight.prompt.conversation import (
    ImagePart,
    ImageReference,
    Part,
    image_references,
    replace_images,
)
from pilotlight.prompt.images.decode import decode
from pilotlight.prompt.images.errors import FetchFailed, ImageRefused
from pilotlight.prompt.images.fetch import ImageFetcher
from pilotlight.prompt.images.limits import LOW_DETAIL_SIDE, ImageLimits
from pilotlight.prompt.images.sources import file_of, is_remote
from pilotlight_backend import Image, ModelFacts

_DECODERS = 2
"""Images that are decoded at the same time: each takes up to 200 MB, and a core."""


class RequestLimits(Struct, frozen=True):
    """What the images of one request may be, all together."""

    max_images: int
    max_fetched_bytes: int
    """As many as a body may have, which images fetched from elsewhere are beside."""


def image_reader(settings: Settings) -> "ImageReader":
    """Return a reader with the limits of *settings*."""
    return ImageReader(
        ImageLimits(settings.max_image_bytes, settings.max_image_pixels, settings.image_side),
        RequestLimits(settings.max_images, settings.max_request_bytes),
        ImageFetcher(settings.image_urls),
    )


class ImageReader:
    """Reads the images of requests. Threads and connections are made with the first image."""

    def __init__(
        self, limits: ImageLimits, request_limits: RequestLimits, fetcher: ImageFetcher
    ) -> None:
        self._limits = limits
        self._request_limits = request_limits
        self._fetcher = fetcher
        self._threads: ThreadPoolExecutor | None = None

    async def fetched(self, facts: ModelFacts, prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
        """Return *prompts* with the files of the images that are elsewhere.

        Raises `ImagesUnsupported`, `InvalidRequest` or `InvalidImageUrl`, the first two before
        anything is fetched. What it holds is bounded like a body, so a request can wait with it.
        """
        references = [one for prompt in prompts for one in _references(prompt)]
        if not references:
            return tuple(prompts)
        self._check(facts, references)
        remote = [one for one in references if is_remote(one)]
        files: dict[str, Part] = {}
        left = self._request_limits.max_fetched_bytes
        for one in remote:
            file = await self._fetch(one, left)
            files[one.param] = structs.replace(one, source=file)
            left -= len(file)
        return tuple(_replaced(prompt, files) for prompt in prompts)

    async def decoded(self, prompt: Prompt) -> Prompt:
        """Return *prompt* with the pixels of its images; raises `InvalidImage`."""
        references = _references(prompt)
        if not references:
            return prompt
        images = await asyncio.gather(*map(self._decoded, references))
        return _replaced(
            prompt, {one.param: image for one, image in zip(references, images, strict=True)}
        )

    def _check(self, facts: ModelFacts, references: Sequence[ImageReference]) -> None:
        first = references[0].param
        if not facts.sees:
            raise ImagesUnsupported(
                f"{first}: the model reads text only; expected a model whose input_modalities in"
                " GET /v1/models have image",
                param=first,
            )
        most = self._request_limits.max_images
        if len(references) > most:
            param = references[most].param
            raise InvalidRequest(
                f"{param}: expected at most {most} images in a request, got {len(references)}",
                param=param,
            )
        for one in references:
            if is_remote(one):
                try:
                    self._fetcher.check(str(one.source))
                except FetchFailed as error:
                    raise _invalid_url(one, error) from None

    async def _fetch(self, reference: ImageReference, left: int) -> bytes:
        if left <= 0:
            most = self._request_limits.max_fetched_bytes
            raise InvalidImageUrl(
                f"{reference.param}: the request's images have more than {most:,} bytes",
                param=reference.param,
            )
        try:
            most = min(left, self._limits.max_bytes)
            return await self._fetcher.fetch(str(reference.source), most)
        except FetchFailed as error:
            raise _invalid_url(reference, error) from None

    async def _decoded(self, reference: ImageReference) -> ImagePart:
        limits = structs.replace(self._limits, scales=reference.may_be_scaled)
        if reference.low_detail:
            limits = structs.replace(limits, max_side=min(limits.max_side, LOW_DETAIL_SIDE))
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_DECODERS, thread_name_prefix="image decoder")
        work = partial(_read, reference, limits)
        try:
            image = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except ImageRefused as error:
            raise InvalidImage(f"{reference.param}: {error}", param=reference.param) from None
        return ImagePart(image)

    async def close(self) -> None:
        """End the threads, and close connections."""
        await self._fetcher.close()
        if self._threads is not None:
            threads, self._threads = self._threads, None
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)


def _read(reference: ImageReference, limits: ImageLimits) -> Image:
    return decode(file_of(reference, limits.max_bytes), limits)


def _references(prompt: Prompt) -> list[ImageReference]:
    return image_references(prompt.conversation.turns) if isinstance(prompt, ChatPrompt) else []


def _replaced(prompt: Prompt, images: dict[str, Part]) -> Prompt:
    if not images or not isinstance(prompt, ChatPrompt):
        return prompt
    turns = replace_images(prompt.conversation.turns, images)
    return structs.replace(prompt, conversation=structs.replace(prompt.conversation, turns=turns))


def _invalid_url(reference: ImageReference, error: FetchFailed) -> InvalidImageUrl:
    return InvalidImageUrl(f"{reference.param}: {error}", param=reference.param)

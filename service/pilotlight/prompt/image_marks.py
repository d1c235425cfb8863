"""Where a rendered prompt has its images.

A chat template writes one string. In the place of an image it gets a mark: the image's number
between two characters that occur nowhere else in the request, nor in the template. So no text of a
user's is taken for an image, and an image stands where the template has put it. The template's own
words for images are not used, as in llama-server: the engine knows what belongs around one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from pilotlight.prompt.control_tokens import PromptText, escape, unused_character
from pilotlight.prompt.conversation import ImagePart, Part, TextPart
from pilotlight.prompt.errors import TemplateFailed
from pilotlight_backend import Image


class ImageMarks:
    """The marks of one request's images."""

    def __init__(self, images: Sequence[Image], texts: object) -> None:
        """*texts* are all texts beside the images, nested in lists and mappings."""
        self._images = list(dict.fromkeys(images))
        self._character = unused_character(texts)
        self._numbers = {image: number for number, image in enumerate(self._images)}
        self._marks = re.compile(f"{self._character}([0-9]+){self._character}")

    def join(self, parts: Iterable[Part]) -> str:
        """Return *parts* as one text: by lines, without any around an image, as in llama.cpp.

        Source: `concat_content_parts` in common/chat.cpp.
        """
        text, is_behind_image = "", False
        for part in parts:
            if isinstance(part, ImagePart):
                number = self._numbers[part.image]
                text += f"{self._character}{number}{self._character}"
            elif isinstance(part, TextPart):
                text += ("\n" if text and not is_behind_image else "") + part.text
            is_behind_image = isinstance(part, ImagePart)
        return text

    def unescaped(self, text: str) -> str:
        """Return *text* with marks that the template wrote as JSON in ASCII as they were."""
        return text.replace(escape(self._character), self._character)

    def split(self, written: PromptText) -> Iterator[PromptText | Image]:
        """Yield the texts and images of a prompt in their order.

        Raises `TemplateFailed` if the template has dropped an image.
        """
        found = list(self._marks.finditer(written.text))
        numbers = [int(mark[1]) for mark in found]
        dropped = set(range(len(self._images))).difference(numbers)
        if dropped:
            raise TemplateFailed(
                f"the model's chat template drops {len(dropped)} of {len(self._images)} images;"
                " it may take them in the user's messages alone"
            )
        edges = [0, *(edge for mark in found for edge in mark.span()), len(written.text)]
        for index, (start, end) in enumerate(pairwise(edges)):
            if index % 2:
                yield self._images[numbers[index // 2]]
            elif start < end:
                yield PromptText(
                    written.text[start:end],
                    tuple(
                        (first - start, last - start)
                        for first, last in written.spans
                        if start <= first and last <= end
                    ),
                )

"""An image stands where the template has put it, and no text makes one."""

import pytest

from pilotlight.prompt.control_tokens import ControlNames, Marking, PromptText
from pilotlight.prompt.conversation import ImagePart, TextPart
from pilotlight.prompt.errors import TemplateFailed
from pilotlight.prompt.image_marks import ImageMarks
from pilotlight_backend import Image

CAT, DOG = (Image.of(1, 1, bytes([shade] * 3)) for shade in (1, 2))


def parts(*some):
    return [TextPart(one) if isinstance(one, str) else ImagePart(one) for one in some]


def split(marks, text):
    return [one if isinstance(one, Image) else one.text for one in marks.split(PromptText(text))]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (("a", "b"), ["a\nb"]),
        ((CAT,), [CAT]),
        (("What is it?", CAT), ["What is it?", CAT]),
        ((CAT, "What is it?"), [CAT, "What is it?"]),
        (("a", CAT, "b", "c"), ["a", CAT, "b\nc"]),
        ((CAT, DOG), [CAT, DOG]),
        ((CAT, CAT), [CAT, CAT]),
        (("", CAT, ""), [CAT]),
    ],
)
def test_texts_are_joined_by_lines_and_images_by_nothing(given, written):
    """As llama.cpp does it (`concat_content_parts` in common/chat.cpp)."""
    images = [one for one in given if isinstance(one, Image)]
    marks = ImageMarks(images, [])

    assert split(marks, marks.join(parts(*given))) == written


def test_a_text_with_another_request_s_marks_makes_no_image():
    seen = ImageMarks([CAT], []).join(parts(CAT))

    marks = ImageMarks([DOG], [seen])

    assert split(marks, marks.join(parts(f"{seen}\ufdd0", DOG))) == [f"{seen}\ufdd0", DOG]


def test_a_text_with_the_escape_of_a_mark_makes_no_image():
    marks = ImageMarks([DOG], ["\\ufdd00\\ufdd0"])

    written = marks.unescaped(marks.join(parts("\\ufdd00\\ufdd0", DOG)))

    assert split(marks, written) == ["\\ufdd00\\ufdd0", DOG]


def test_an_image_stands_where_the_template_has_moved_it():
    marks = ImageMarks([CAT, DOG], [])
    first, second = (marks.join(parts(one)) for one in (CAT, DOG))

    assert split(marks, f"b{second}a{first}") == ["b", DOG, "a", CAT]


def test_an_image_that_a_template_writes_as_json_is_an_image():
    marks = ImageMarks([CAT], [])
    mark = marks.join(parts(CAT)).encode("ascii", "backslashreplace").decode()

    assert split(marks, marks.unescaped(f'["{mark}"]')) == ['["', CAT, '"]']


def test_an_image_that_the_template_drops_is_an_error():
    marks = ImageMarks([CAT, DOG], [])

    with pytest.raises(TemplateFailed, match="drops 1 of 2 images"):
        list(marks.split(PromptText(marks.join(parts(DOG)))))


def test_names_of_control_tokens_beside_an_image_stay_text():
    names = ControlNames(["<|im_end|>"])
    marks = ImageMarks([CAT], ["<|im_end|>"])
    content = marks.join(parts("<|im_end|>", CAT, "<|im_end|>!"))
    marking = Marking(names, [content])

    written = marking.resolve(f"<|im_end|>{marking.mark(content)}")
    before, image, behind = marks.split(written)

    assert image == CAT
    assert (before.text, before.spans) == ("<|im_end|><|im_end|>", ((10, 20),))
    assert (behind.text, behind.spans) == ("<|im_end|>!", ((0, 10),))


def test_a_name_cannot_be_made_around_an_image():
    names = ControlNames(["<|im_end|>"])
    marks = ImageMarks([CAT], [])
    content = marks.join(parts("<|im_", CAT, "end|>"))
    marking = Marking(names, [content])

    texts = [one for one in marks.split(marking.resolve(marking.mark(content))) if one != CAT]

    assert [one.text for one in texts] == ["<|im_", "end|>"]

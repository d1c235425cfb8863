"""The pictures that spark's eyes are trained and tested on."""

# ruff: noqa: S311 - chosen for being repeatable

from random import Random

import pytest
from PIL import Image

from tools.spark.facts import FACTS, facts_of, slots
from tools.spark.pictures import (
    COLOURS,
    LARGEST,
    MOST,
    SHAPES,
    Scene,
    a_scene,
    draw_scene,
    draw_things,
)
from tools.spark.seeing import IMAGE, KINDS, a_seen_sample, answer, held_out_examples, kinds_of

RED_CIRCLE = Scene("red", "white", "circle")
THREE_CROSSES = Scene("blue", "yellow", "cross", 3)
NUMBER = Scene("black", "orange", number=47)


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _things(image: Image.Image, scene: Scene) -> int:
    """Count the regions of the drawn colour that are larger than noise."""
    fill, ground = COLOURS[scene.colour], COLOURS[scene.background]
    pixels = image.load()
    drawn = {
        (x, y)
        for x in range(image.width)
        for y in range(image.height)
        if _distance(pixels[x, y], fill) < _distance(pixels[x, y], ground)
    }
    things = 0
    while drawn:
        region, edge = 0, [drawn.pop()]
        while edge:
            x, y = edge.pop()
            region += 1
            near = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & drawn
            drawn -= near
            edge += near
        things += region > 8
    return things


@pytest.mark.parametrize("count", range(1, MOST + 1))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_shows_as_many_things_as_its_scene_has(shape: str, count: int) -> None:
    """Things neither touch nor leave the picture, wherever they are placed."""
    scene = Scene("blue", "white", shape, count)
    for seed in range(4):
        assert _things(draw_scene(Random(seed), scene), scene) == count


def test_a_number_is_drawn_as_two_digits() -> None:
    """They may touch in a bold stroke, and are never lost in the background."""
    scene = Scene("black", "white", number=71)
    for seed in range(12):
        assert 1 <= _things(draw_scene(Random(seed), scene), scene) <= 2


@pytest.mark.parametrize("scene", [RED_CIRCLE, THREE_CROSSES, NUMBER])
def test_things_are_where_their_boxes_are(scene: Scene) -> None:
    """Everything drawn is within a box, and every box has something drawn in it."""
    fill, ground = COLOURS[scene.colour], COLOURS[scene.background]
    for seed in range(6):
        image, things = draw_things(Random(seed), scene)
        pixels = image.load()
        drawn = {
            (x, y)
            for x in range(image.width)
            for y in range(image.height)
            if 3 * _distance(pixels[x, y], fill) < _distance(pixels[x, y], ground)
        }
        within = [
            {
                (x, y)
                for x, y in drawn
                if box[0] - 2 <= x <= box[2] + 2 and box[1] - 2 <= y <= box[3] + 2
            }
            for box in (thing.box for thing in things)
        ]
        assert set().union(*within) == drawn
        assert all(len(some) > 8 for some in within)


def test_things_of_a_number_are_its_digits() -> None:
    _, things = draw_things(Random(1), NUMBER)
    assert [thing.name for thing in things] == ["tens 4", "units 7"]


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (RED_CIRCLE, {"count": "A", "colour": "red", "shape": "circle", "background": "white"}),
        (THREE_CROSSES, {"count": "3", "colour": "blue", "shape": "cross", "tens": ""}),
        (NUMBER, {"count": "A", "shape": "number", "tens": "4", "units": "7"}),
    ],
)
def test_facts_of_a_scene(scene: Scene, expected: dict[str, str]) -> None:
    classes = zip(FACTS, facts_of(scene), strict=True)
    words = {fact.name: fact.words[index] for fact, index in classes}
    assert words | expected == words


def test_facts_have_the_embeddings_of_a_picture() -> None:
    """Pictures are scaled to 48 x 48 pixels, and each patch of 8 x 8 is one embedding."""
    found = slots()
    assert len(found) == (48 // 8) ** 2
    assert {fact.name for fact in found if fact} == {fact.name for fact in FACTS}


def test_pictures_have_at_most_64_pixels_a_side() -> None:
    sizes = {draw_scene(Random(seed), RED_CIRCLE).size for seed in range(40)}
    assert (LARGEST, LARGEST) in sizes
    assert len(sizes) > 5
    assert max(side for size in sizes for side in size) == LARGEST


def test_the_same_seed_draws_the_same_picture() -> None:
    one, again = (draw_scene(Random(4), THREE_CROSSES) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    assert draw_scene(Random(5), THREE_CROSSES).tobytes() != one.tobytes()


@pytest.mark.parametrize(
    ("scene", "kind", "expected"),
    [
        (RED_CIRCLE, "what", "A red circle on white."),
        (RED_CIRCLE, "colour", "The colour is red."),
        (RED_CIRCLE, "shape", "The shape is circle."),
        (RED_CIRCLE, "count", "There is 1."),
        (RED_CIRCLE, "describe", "A red circle on white."),
        (Scene("orange", "black", "star"), "what", "An orange star on black."),
        (THREE_CROSSES, "what", "3 blue crosses on yellow."),
        (THREE_CROSSES, "background", "The background is yellow."),
        (THREE_CROSSES, "count", "There are 3."),
        (NUMBER, "number", "The number is 47."),
        (NUMBER, "what", "A black number 47 on orange."),
        (NUMBER, "describe", "A black number 47 on orange."),
    ],
)
def test_answers(scene: Scene, kind: str, expected: str) -> None:
    assert kind in kinds_of(scene)
    assert answer(scene, kind) == expected


def test_training_never_draws_a_scene_that_is_held_out() -> None:
    rng = Random(3)
    trained = [a_seen_sample(rng, "train")[0] for _ in range(2_000)]
    tested = [a_scene(rng, "test") for _ in range(500)]
    assert not set(trained) & set(tested)
    assert {scene.number is None for scene in tested} == {True, False}
    assert len({scene.number for scene in tested}) > 5


def test_a_conversation_shows_its_picture_once() -> None:
    rng = Random(3)
    for _ in range(200):
        _, sample = a_seen_sample(rng, "train")
        texts = [message["content"] for message in sample.messages]
        assert sum(text.count(IMAGE) for text in texts) == 1
        assert "{" not in "".join(texts)


def test_held_out_examples_are_the_same_every_time() -> None:
    one, again = held_out_examples(20), held_out_examples(20)
    assert [each.picture.tobytes() for each in one] == [each.picture.tobytes() for each in again]
    assert [each.question for each in one] == [each.question for each in again]
    assert len({each.answer for each in one}) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_examples_of_one_kind(kind: str) -> None:
    assert {each.kind for each in held_out_examples(5, kind)} == {kind}

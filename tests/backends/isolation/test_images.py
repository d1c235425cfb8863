"""Images on their way to an engine's process: each is sent once, and none is kept."""

import pytest

from pilotlight_backend import Finish, GenerateRequest, Image, InvalidParameter, LoadOptions
from pilotlight_backend.testing.conformance.listener import eventually, submit
from pilotlight_backend.testing.fake import FakeModel
from pilotlight_isolation import engine as isolated
from pilotlight_isolation import wire
from pilotlight_isolation.sent_images import SentImages, with_images, without_images

CAT, DOG = (Image.of(2, 2, bytes([shade]) * 12) for shade in (10, 200))
FOREVER = 10_000


class Wire:
    """Remembers what was sent, and by *fails* what cannot be."""

    def __init__(self):
        self.sent = []
        self.fails = lambda _message: False

    def __call__(self, message):
        if self.fails(message):
            raise MemoryError
        self.sent.append(message)

    @property
    def kinds(self):
        return [type(message).__name__ for message in self.sent]


@pytest.fixture
def sent():
    return Wire()


@pytest.fixture
def images(sent):
    return SentImages(sent)


@pytest.mark.parametrize("prompt", [(1, 2), (CAT,), (1, CAT, 2, DOG, CAT), (DOG, DOG, 0)], ids=str)
def test_images_come_back_into_their_places(prompt):
    request = GenerateRequest(prompt=prompt, max_tokens=1)
    bare, images = without_images(request)
    assert all(isinstance(part, int) for part in bare.prompt)
    assert len(set(images)) == len(images)
    assert with_images(bare, images) == request


def test_image_is_sent_with_its_first_request_and_dropped_with_its_last(sent, images):
    """It is there before the request that names it."""
    for number in range(3):
        images.send(wire.Cancel(number), [CAT])
    assert sent.sent == [wire.KeepImage(CAT), *map(wire.Cancel, range(3))]
    images.release([CAT.digest])
    images.release([CAT.digest])
    assert len(sent.sent) == 4
    images.release([CAT.digest])
    assert sent.sent[4:] == [wire.DropImage(CAT.digest)]
    images.send(wire.Cancel(3), [CAT])
    assert sent.sent[5:] == [wire.KeepImage(CAT), wire.Cancel(3)]


@pytest.mark.parametrize("failing", [wire.KeepImage(DOG), wire.Cancel(1)], ids=["image", "request"])
def test_request_that_cannot_be_sent_keeps_no_image(sent, images, failing):
    """Of one that uses the same image, it stays."""
    images.send(wire.Cancel(0), [CAT])
    sent.fails = lambda message: message == failing
    with pytest.raises(MemoryError):
        images.send(wire.Cancel(1), [CAT, DOG])
    sent.fails = lambda _message: False
    sent.sent.clear()
    images.send(wire.Cancel(2), [CAT, DOG])
    assert sent.kinds == ["KeepImage", "Cancel"]  # that of the dog
    images.release([CAT.digest])
    images.release([CAT.digest, DOG.digest])
    assert sent.kinds.count("DropImage") == 2


@pytest.fixture
def engine(backend, tmp_path):
    model = FakeModel(image_tokens=4, token_seconds=0.005).write(tmp_path / "see.fake")
    engine = backend.load(backend.probe(model), LoadOptions(parallel=3), lambda _: None)
    yield engine
    engine.close()


def test_choices_send_their_image_once(engine, monkeypatch):
    """Also the next request beside them; after the last of them it is sent anew."""
    seen = []
    send = engine._client._process.send
    monkeypatch.setattr(engine._client._images, "_send", lambda one: (seen.append(one), send(one)))
    request = GenerateRequest(prompt=(1, CAT, 2), max_tokens=FOREVER)
    choices = [submit(engine, request) for _ in range(3)]
    for one in choices:
        one.listener.wait_tokens()
    assert [type(one).__name__ for one in seen] == ["KeepImage", *["Submit"] * 3]
    for one in choices:
        one.ticket.cancel()
        assert isinstance(one.listener.wait(), Finish)
    assert eventually(lambda: isinstance(seen[-1], wire.DropImage))
    again = submit(engine, GenerateRequest(prompt=(1, CAT, 2), max_tokens=2))
    assert isinstance(again.listener.wait(), Finish)
    assert again.listener.events[0].prompt_tokens == 6


def test_request_that_cannot_be_sent_leaves_nothing(engine, monkeypatch):
    """It is raised to its caller, and is in no count."""

    def fail(_message):
        raise MemoryError

    monkeypatch.setattr(engine._client._process, "send", fail)
    with pytest.raises(MemoryError):
        engine.submit(GenerateRequest(prompt=(1,), max_tokens=1), lambda _: None)
    with pytest.raises(MemoryError):
        engine.tokenize("hi", special=False)
    monkeypatch.undo()
    assert (engine._client._requests, engine._client._calls) == ({}, {})
    assert engine.stats().queued == 0


def test_images_that_are_too_large_are_refused(engine, monkeypatch):
    """The error says what would be right; the same image twice counts once."""
    monkeypatch.setattr(isolated, "_MOST_PIXEL_BYTES", 18)
    twice = submit(engine, GenerateRequest(prompt=(1, CAT, CAT), max_tokens=1))
    assert isinstance(twice.listener.wait(), Finish)
    with pytest.raises(InvalidParameter, match="have 8 pixels, and may have 6: send fewer"):
        engine.submit(GenerateRequest(prompt=(1, CAT, DOG), max_tokens=1), lambda _: None)

"""How an exception is logged."""

from pathlib import Path

import pytest

from pilotlight_backend import GuideFailed, InvalidParameter, LoadFailed, ModelFileInvalid
from pilotlight_backend.redaction import trace

PROMPT = "xyzzyplugh"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return *error* as it is once it was raised and caught."""
    try:
        raise error from cause  # noqa: TRY301 - so that it has a frame
    except BaseException as caught:  # noqa: BLE001 - whatever was given
        return caught


def encoded() -> BaseException:
    """Return the error that has the whole text in its arguments."""
    try:
        (PROMPT + chr(0xD800)).encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        raised(KeyError(PROMPT)),
        encoded(),
        raised(InvalidParameter("prompt", PROMPT)),
        raised(GuideFailed(PROMPT)),
        raised(RuntimeError("outer"), raised(ValueError(PROMPT))),
        raised(ExceptionGroup(PROMPT, [ValueError(PROMPT)])),
        raised(OSError(2, PROMPT, PROMPT)),
        raised(OSError(PROMPT)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_it_says_is_left_out(error):
    """Its class is there, of each of them, and the frames; no word of its own."""
    told = trace(error)
    assert PROMPT not in told
    assert type(error).__name__ in told
    assert f'File "{__file__}", line' in told


def test_frames_and_causes_are_in_their_order():
    """What came first stands first; each says the file, the line and the function."""
    told = trace(raised(RuntimeError("b"), raised(KeyError("a")))).splitlines()
    frame = next(line for line in told if line.startswith("  "))
    assert frame.startswith(f'  File "{__file__}", line ')
    assert frame.endswith(", in raised")
    assert [line for line in told if not line.startswith("  ")] == [
        "Traceback (most recent call last):",
        "KeyError",
        "which led to:",
        "Traceback (most recent call last):",
        "RuntimeError",
    ]


def test_errors_that_cause_each_other_end():
    """A circle is written once."""
    a, b = KeyError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert trace(a).count("Error") == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelFileInvalid(Path("m.gguf"), "torn"), "ModelFileInvalid: m.gguf: torn"),
        (LoadFailed("m: no room"), "LoadFailed: m: no room"),
    ],
)
def test_what_loads_say_is_kept(error, told):
    """They contain no request, and the operator of the server needs them."""
    assert trace(error).splitlines()[-1] == f"pilotlight_backend.errors.{told}"

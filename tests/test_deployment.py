"""Which platform the environment shows, and what follows."""

import pytest

from pilotlight.config import load_settings
from pilotlight.deployment import detect, warning

CLOUD_RUN = {"K_SERVICE": "x", "K_REVISION": "x-1", "PORT": "8080"}
KNATIVE = {**CLOUD_RUN, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "platform", "hold", "max_retry_after"),
    [
        ({}, "none", 10.0, 60.0),
        (CLOUD_RUN, "cloud_run", 45.0, 45.0),
        (KNATIVE, "knative", 10.0, 45.0),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes", 10.0, 60.0),
        ({"K_SERVICE": ""}, "none", 10.0, 60.0),
    ],
)
def test_platform_is_found(environ, platform, hold, max_retry_after):
    """Each platform by its variables, with the hold and the Retry-After that suit it."""
    settings = load_settings({}, environ)
    assert (detect(environ).platform, settings.platform) == (platform, platform)
    assert (settings.hold, settings.max_retry_after) == (hold, max_retry_after)


def test_what_is_given_wins_over_the_platform():
    """A variable, and a flag, overrule what was found."""
    assert load_settings({}, CLOUD_RUN | {"PILOTLIGHT_HOLD": "5"}).hold == 5.0
    assert load_settings({"platform": "none"}, CLOUD_RUN).platform == "none"
    given = load_settings({"max_retry_after": "30"}, KNATIVE)
    assert given.max_retry_after == 30.0


@pytest.mark.parametrize(
    ("platform", "hold", "warned"),
    [("cloud_run", 10.0, True), ("cloud_run", 45.0, False), ("knative", 0.0, False)],
)
def test_what_would_stall_is_warned_of(platform, hold, warned):
    """A short hold where the CPU is throttled is logged, with the remedy."""
    told = warning(platform, hold)
    assert (told is not None) is warned
    assert not warned or "--hold" in told

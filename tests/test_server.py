"""What a server says of itself when it starts."""

import re

import pytest

from pilotlight.config import load_settings
from pilotlight.server import findings

CLUSTER = {"K_SERVICE": "x", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.mark.parametrize(
    ("environ", "flags", "told"),
    [
        ({"K_SERVICE": "x"}, {}, "platform cloud_run: K_SERVICE is set; "),
        (CLUSTER, {}, "platform knative: K_SERVICE and KUBERNETES_SERVICE_HOST are set; "),
        ({}, {}, "platform none: no platform's variable is set; "),
        ({}, {"platform": "cloud_run"}, "platform cloud_run: as the settings say; "),
    ],
)
def test_it_says_where_it_runs_and_why(environ, flags, told):
    """With the CPUs and the memory that it found, and how long requests are held."""
    settings = load_settings(flags, environ)
    line = findings(settings, environ)
    assert line.startswith(told)
    assert re.search(r"; [0-9]+ CPUs?, [0-9.]+ GB of memory; ", line)
    assert line.endswith(f"up to {settings.hold:g} s")

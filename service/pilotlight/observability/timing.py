"""The timing of a cold start: the seconds of a response by phase."""

from collections.abc import Mapping
from typing import TypeAlias

Phases: TypeAlias = Mapping[str, float]
"""Seconds by phase, in order.

| phase         | from … to                                                            |
|---------------|----------------------------------------------------------------------|
| `import`      | the process's exec … the server accepts requests                     |
| `begin`       | the process's exec … the load began, before or after `import` ends |
| `fetch`       | the load began … the files are here, if they had to be fetched       |
| `read`        | … the weights are in the page cache                                  |
| `load`        | … weights and context are created                                    |
| `warm`        | … the model is ready                                                 |
| `hold`        | the request arrived … its model is ready                             |
| `queue`       | it was submitted … it has a slot                                     |
| `restore`     | … the slot has the cached state that was restored, if there was one  |
| `prefill`     | … its first token is ready                                           |
| `first_token` | the request arrived … its first token is ready                       |

Only the first model of a process has `import` and `begin`. The phases from `import` to `warm` may
end before the request arrives; `hold` is how long it waited for them.
"""


def server_timing(phases: Phases) -> str:
    """Return *phases* as the value of a `Server-Timing` header, in milliseconds.

    >>> server_timing({"load": 1.25, "queue": 0.0})
    'load;dur=1250.0, queue;dur=0.0'
    """
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in phases.items())

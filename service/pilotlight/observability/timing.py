"""The timing of a cold start: where the seconds of an answer went, by phase."""

from collections.abc import Mapping
from typing import TypeAlias

Phases: TypeAlias = Mapping[str, float]
"""Seconds by phase, in the order in which they passed.

| phase         | from … to                                                            |
|---------------|----------------------------------------------------------------------|
| `import`      | the process's exec … the server takes requests                       |
| `begin`       | the process's exec … the load began, be it before or after `import`  |
| `fetch`       | the load began … the files are on this machine, where they were not  |
| `read`        | … the weights are in the page cache                                  |
| `load`        | … weights and context are made                                       |
| `warm`        | … the model is ready                                                 |
| `hold`        | the request arrived … its model is ready                             |
| `queue`       | it was submitted … it has a slot                                     |
| `prefill`     | … the first token is there                                           |
| `first_token` | the request arrived … the first token is there                       |

`import` and `begin` are told with the process's first model alone. `import` to `warm` may have
passed
before the request came; `hold` is what it waited for them.
"""


def server_timing(phases: Phases) -> str:
    """Return *phases* as the value of a `Server-Timing` header, in milliseconds.

    >>> server_timing({"load": 1.25, "queue": 0.0})
    'load;dur=1250.0, queue;dur=0.0'
    """
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in phases.items())

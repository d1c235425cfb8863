"""Every parser holds out against what nobody would send: some dozens of tries, the same each time.

`python -m tests.fuzz --minutes 60` goes on from here.
"""

import pytest

from tests.fuzz.cases import CASES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parser_holds(case):
    """See the case's own docstring."""
    assert case.run(case.short) > 0

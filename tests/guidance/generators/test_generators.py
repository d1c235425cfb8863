"""What generators make of ordinary types is kept, or refused by the place of what is not."""

from collections import Counter

import pytest

from tests.guidance.generators.corpus import generated, verdict
from tests.guidance.walker import tokens

REFUSED = {
    "look-ahead is not supported",
    "expected an enum of names, or one pattern for all names",
    "the keyword 'uniqueItems' is not supported",
    "the keyword 'unevaluatedProperties' is not supported",
    "the keyword 'not' is not supported",
    "2 is not supported: expected at most 1",
    "its schemas must differ in their types or in a required constant",
    "its values never end: each requires another one",
    "'T0' is not supported: expected a reference within the schema, '#/…'",
    "Invalid type: RegExp",
}
"""Every reason that there is; the last three are of OpenAPI 3.0's `nullable` and of TypeBox."""


@pytest.mark.slow
def test_schemas_of_generators_are_kept_or_refused_by_name():
    """Answers chosen by chance are valid by the original, and refusals are few."""
    vocabulary = tokens()
    refused: Counter[str] = Counter()
    schemas = list(generated())
    for one in schemas:
        if reason := verdict(one, vocabulary):
            refused[reason.partition(": ")[2]] += 1
    assert len(schemas) > 700
    assert set(refused) == REFUSED
    assert refused.total() < 30

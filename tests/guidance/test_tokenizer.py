"""A vocabulary in llguidance's form, and what a start imports."""

import subprocess
import sys

import pytest

from pilotlight.guidance import Grammar, GuideTokenizer, Regex, compile_grammar
from pilotlight_backend import Vocabulary
from tests.guidance.walker import allowed


def test_vocabulary_without_an_end_is_a_mistake():
    """No answer could ever end."""
    with pytest.raises(ValueError, match="ends"):
        GuideTokenizer.of(Vocabulary((b"a",), frozenset()))


def test_end_may_be_any_token():
    """Ends anywhere in the vocabulary, and with the bytes of a text, are ends alone."""
    vocabulary = Vocabulary((b"a", b"</s>", b"", b"</s>"), frozenset({1}))
    made = compile_grammar(Grammar(content=Regex("a</s>")), GuideTokenizer.of(vocabulary))
    guide = made()
    guide.accept(0)
    assert allowed(guide, 4) == {3}
    guide.accept(3)
    assert allowed(guide, 4) == {1}


def test_vocabulary_that_cannot_say_a_grammar_is_noticed():
    """A grammar that begins with what no token has is refused, and not met by an empty choice."""
    vocabulary = Vocabulary((b"a", b"</s>"), frozenset({1}))
    with pytest.raises(Exception, match="no text matches it"):
        compile_grammar(Grammar(content=Regex("b")), GuideTokenizer.of(vocabulary))


def test_import_brings_neither_llguidance_nor_numpy():
    """The package is imported by a start; what it is made of waits for the first grammar."""
    script = (
        "import sys, pilotlight.guidance;print(sorted({'llguidance', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"

"""A query and a document as the tokens of one sequence, as llama-server joins them."""

import re
from collections.abc import Iterable, Iterator, Sequence

from pilotlight_backend import TokenizedPairs
from pilotlight_backend.verbatim import Span, parts
from pilotlight_llama_cpp.model import LlamaModel

PLACES = re.compile(r"\{(query|document)\}")
"""Where a template for reranking has its texts."""


class PairTokenizer:
    """Tokenizes pairs for one model: with its template for reranking, or with separators.

    Same as `format_prompt_rerank` in llama.cpp's tools/server/server-common.cpp, but for names of
    control tokens in the texts: there, with a template, they become those tokens.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._template = model.template("rerank")
        self._names = _any_of(model.control_names)

    def __call__(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*."""
        if self._template is None:
            return self._separated(query, documents)
        return self._rendered(self._template, query, documents)

    def _separated(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        model, marks = self._model, self._model.marks
        head = [
            *marks.bos, *model.tokenize(query, special=False), *marks.eos, *marks.sep,
        ]  # fmt: skip
        pairs = [[*head, *model.tokenize(one, special=False), *marks.eos] for one in documents]
        return TokenizedPairs(pairs, len(head) + len(marks.eos), len(marks.eos))

    def _rendered(self, template: str, query: str, documents: Sequence[str]) -> TokenizedPairs:
        # The template has one {document}, which the probe has checked.
        behind = self._tokens(template.split("{document}")[1], query, "")
        frame = self._tokens(template, query, "")
        pairs = [self._tokens(template, query, one) for one in documents]
        tail = min(_common_end(behind, one) for one in (frame, *pairs))
        return TokenizedPairs(pairs, len(frame), tail)

    def _tokens(self, template: str, query: str, document: str) -> list[int]:
        """Return the token ids of *template* with its texts.

        It is tokenized as a whole, since tokens merge across the texts' ends: only names of control
        tokens in the texts are cut out.
        """
        text, spans = "", list[Span]()
        given = {"query": query, "document": document}
        for index, part in enumerate(PLACES.split(template)):
            if index % 2:  # a place's name
                spans += self._names_in(given[part], len(text))
            text += given[part] if index % 2 else part
        return self._model.tokenize_parts(parts(text, spans))

    def _names_in(self, text: str, offset: int) -> Iterator[Span]:
        """Yield where *text*, which begins at *offset*, has names of control tokens."""
        if self._names is not None:
            for found in self._names.finditer(text):
                yield found.start() + offset, found.end() + offset


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """Return the pattern of all *names*, the longest first; None without names."""
    longest = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest))) if longest else None


def _common_end(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens at their ends the two have in common."""
    count = 0
    for token, another in zip(reversed(one), reversed(other), strict=False):
        if token != another:
            break
        count += 1
    return count

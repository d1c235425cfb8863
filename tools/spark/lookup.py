"""Embeddings of the facts themselves, in place of a picture: what the tower is to write.

Whether the frozen text model can answer from so many embeddings, and from which, is found out here,
without a tower that is still learning to see.
"""

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from tools.spark.facts import FACTS, LAYOUT, slots

_NOISE = 0.05
"""Deviation of the embeddings that start as no word."""


class Lookup(nn.Module):
    """One embedding for each class of the fact that its place is given to."""

    def __init__(self, tokenizer: Tokenizer, words: Tensor) -> None:
        """Start from a sentence of *words*, the text model's own embeddings."""
        super().__init__()
        facts = slots()
        # Where the classes of each fact begin in a row of `_ones`.
        widths = [len(fact.words) for fact in FACTS]
        self._classes = widths
        width = words.shape[1]
        self.shared = nn.Parameter(torch.randn(len(facts), width) * _NOISE)
        self.table = nn.Parameter(torch.zeros(sum(widths), len(facts), width))
        mask = torch.zeros(sum(widths), len(facts), 1)
        starts = [sum(widths[:index]) for index in range(len(widths))]
        for slot, fact in enumerate(facts):
            if fact:
                start = starts[FACTS.index(fact)]
                mask[start : start + len(fact.words), slot] = 1
        self.register_buffer("_mask", mask, persistent=False)
        self._spell(tokenizer, words, starts)

    @torch.no_grad()
    def _spell(self, tokenizer: Tokenizer, words: Tensor, starts: list[int]) -> None:
        at = 0
        for part in LAYOUT:
            if isinstance(part, str):
                self.shared[at] = words[tokenizer.encode(part).ids[0]]
                at += 1
                continue
            self.shared[at : at + part.spelled] = 0
            for row, word in enumerate(part.words, starts[FACTS.index(part)]):
                for place, token in enumerate(tokenizer.encode(word).ids[: part.spelled]):
                    self.table[row, at + place] = words[token]
            at += part.spelled

    def forward(self, facts: Tensor) -> Tensor:
        """Return the embeddings [batch, places, width] of ``facts`` [batch, facts]."""
        rows = [
            nn.functional.one_hot(facts[:, index], count)
            for index, count in enumerate(self._classes)
        ]
        table = self.table * self._mask
        return torch.einsum("bi,ipd->bpd", torch.cat(rows, 1).float(), table) + self.shared

"""Questions about pictures as tokens, and how wrong the text model's answers are."""

from collections.abc import Callable
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from tools.spark.conversations import completion
from tools.spark.course import Course
from tools.spark.model import Spark
from tools.spark.pictures import Scene
from tools.spark.prompt import render
from tools.spark.seeing import IMAGE, a_seen_sample
from tools.spark.tokenizer import TURN_END
from tools.spark.train import IGNORED
from tools.spark.turn import Sample

PICTURE = -1
"""Stands in a row of tokens where an embedding of the picture does."""

_TOGETHER = 8
"""Steps whose samples are drawn together and sorted by length: padding costs as much as tokens."""
_FIRST = 4.0
"""Weight of an answer's first token, which decides what kind of answer it becomes."""
_THOUGHT = 4
"""Tokens of an empty thought before it."""
_TESTED = 256

Shown = list[tuple[Scene, Sample]]
Pictures = Callable[[list[Scene]], Tensor]
"""Return the embeddings that stand for each scene: [batch, patches, hidden size]."""


def encode(tokenizer: Tokenizer, sample: Sample, patches: int) -> tuple[list[int], list[int]]:
    """Return prompt and answer as tokens, ``PICTURE`` for each embedding of the picture."""
    text = render(sample.messages, enable_thinking=sample.thinking)
    before, after = (tokenizer.encode(part).ids for part in text.split(IMAGE))
    written = tokenizer.encode(completion(sample) + TURN_END).ids
    return before + [PICTURE] * patches + after, written


def with_pictures(model: Spark, tokens: Tensor, pictures: Tensor) -> Tensor:
    """Return the embeddings of ``tokens``, those of ``pictures`` where ``PICTURE`` stands."""
    words: Tensor = model.embed_tokens(tokens.clamp(min=0))
    return words.masked_scatter((tokens == PICTURE)[:, :, None], pictures)


class Telling:
    """The frozen text model, asked about pictures."""

    def __init__(self, model: Spark, tokenizer: Tokenizer, patches: int) -> None:
        self._model = model.requires_grad_(requires_grad=False)
        self._tokenizer, self._patches = tokenizer, patches
        self._drawn: tuple[str, list[Shown]] = "", []

    def asked(self, course: Course, step: int) -> Shown:
        """Draw the scenes and conversations of *step*."""
        seed = f"{course.seed} {step // _TOGETHER}"
        if self._drawn[0] != seed:
            rng = Random(seed)
            count = course.pictures
            shown = self._sorted([a_seen_sample(rng, "train") for _ in range(_TOGETHER * count)])
            batches = [shown[start : start + count] for start in range(0, len(shown), count)]
            rng.shuffle(batches)
            self._drawn = seed, batches
        return self._drawn[1][step % _TOGETHER]

    def held_out(self) -> Shown:
        """Draw what no step is drawn from."""
        rng = Random("held out")
        return self._sorted([a_seen_sample(rng, "test") for _ in range(_TESTED)])

    def _sorted(self, shown: Shown) -> Shown:
        return sorted(shown, key=lambda each: len(self._encoded(each[1])[0]))

    def _encoded(self, sample: Sample) -> tuple[list[int], list[int]]:
        return encode(self._tokenizer, sample, self._patches)

    def _batch(self, shown: Shown) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens, labels and the weight of each label."""
        rows = [self._encoded(sample) for _, sample in shown]
        longest = max(len(given) + len(written) for given, written in rows)
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED)
        weights = torch.zeros(len(rows), longest)
        for row, ((given, written), (_, sample)) in enumerate(zip(rows, shown, strict=True)):
            start, length = len(given), len(given) + len(written)
            tokens[row, :length] = torch.tensor(given + written)
            labels[row, start - 1 : length - 1] = torch.tensor(written)
            # Between every answer the same and every token the same.
            weights[row, start - 1 : length - 1] = len(written) ** -0.5
            weights[row, start - 1 + (_THOUGHT if sample.thinking else 0)] *= _FIRST
        return tokens, labels, weights

    def _scores(self, tokens: Tensor, asked: Tensor, pictures: Tensor) -> Tensor:
        hidden, _ = self._model.decode(with_pictures(self._model, tokens, pictures))
        return self._model.logits(hidden[asked])

    def loss(self, shown: Shown, pictures: Tensor) -> Tensor:
        """Return how wrong the answers are."""
        tokens, labels, weights = self._batch(shown)
        asked = labels != IGNORED
        scores = self._scores(tokens, asked, pictures)
        each = functional.cross_entropy(scores, labels[asked], reduction="none")
        return (each * weights[asked]).sum() / weights.sum()

    @torch.no_grad()
    def right(self, pictures: Pictures, batch: int = 32) -> str:
        """Return how many held-out answers are right as a whole, by kind."""
        shown, found = self.held_out(), dict[str, list[bool]]()
        for start in range(0, len(shown), batch):
            some = shown[start : start + batch]
            tokens, labels, _ = self._batch(some)
            asked = labels != IGNORED
            wrong = torch.zeros_like(asked)
            scores = self._scores(tokens, asked, pictures([scene for scene, _ in some]))
            wrong[asked] = scores.argmax(-1) != labels[asked]
            for (_, sample), missed in zip(some, wrong.any(1).tolist(), strict=True):
                found.setdefault(sample.task, []).append(not missed)
        total = sum(map(sum, found.values()))
        kinds = (f"{kind} {sum(each)}/{len(each)}" for kind, each in sorted(found.items()))
        return f"{total} of {len(shown)} right: {', '.join(kinds)}"

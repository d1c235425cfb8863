"""Measure the model: greedy answers to held-out prompts, right or wrong as a whole."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.spark.conversations import MIX, completion, generate
from tools.spark.held_out import ask_addition, held_out_additions
from tools.spark.model import Spark, load_model
from tools.spark.prompt import prompt_of, render
from tools.spark.tokenizer import CONTROL, load_tokenizer
from tools.spark.turn import Sample

_SEED = 7
_ROWS = 64
_MOST_TOKENS = 960
_THOUGHT_END = "</think>\n\n"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, the answer after any thought, and whether finding it inside is enough."""

    prompt: str
    answer: str
    inside: bool = False

    def is_answered_by(self, text: str) -> bool:
        """Return whether ``text``, as the model wrote it, is right."""
        said = text.rsplit(_THOUGHT_END, 1)[-1]
        return self.answer in said if self.inside else said == self.answer


@torch.inference_mode()
def continued(model: Spark, prompts: Tensor, stops: set[int]) -> list[list[int]]:
    """Return the greedy continuation of each row of *prompts*, [rows, length, hidden size]."""
    hidden, past = model.decode(prompts)
    answers: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for _ in range(_MOST_TOKENS - prompts.shape[1]):
        following = model.logits(hidden[:, -1]).argmax(dim=-1)
        keep = [place for place, token in enumerate(following.tolist()) if token not in stops]
        if not keep:
            break
        if len(keep) < len(rows):
            # The few long answers need not carry the many short ones along.
            rows = [rows[place] for place in keep]
            following = following[keep]
            past = [(key[keep], value[keep]) for key, value in past]
        for row, token in zip(rows, following.tolist(), strict=True):
            answers[row].append(token)
        hidden, past = model(following[:, None], past)
    return answers


def stop_tokens(tokenizer: Tokenizer) -> set[int]:
    """Return the tokens that end an answer."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return {vocabulary[token] for token in CONTROL}


def greedy(model: Spark, tokenizer: Tokenizer, prompts: list[str]) -> list[list[int]]:
    """Return the tokens of the greedy answer to each prompt, in order, without the end token."""
    stops = stop_tokens(tokenizer)
    encoded = sorted(
        ((tokenizer.encode(prompt).ids, index) for index, prompt in enumerate(prompts)),
        key=lambda pair: len(pair[0]),
    )
    answers: list[list[int]] = [[] for _ in prompts]
    # Prompts of one length go together: no padding, so nothing to mask.
    for _, same in groupby(encoded, key=lambda pair: len(pair[0])):
        rows = list(same)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            embedded = model.embed_tokens(torch.tensor([ids for ids, _ in part]))
            written = continued(model, embedded, stops)
            for (_, index), answer in zip(part, written, strict=True):
                answers[index] = answer
    return answers


def answer_texts(model: Spark, tokenizer: Tokenizer, prompts: list[str]) -> list[str]:
    """Return the greedy answers as text, markers included."""
    return [
        tokenizer.decode(tokens, skip_special_tokens=False)
        for tokens in greedy(model, tokenizer, prompts)
    ]


def test_samples(task: str, count: int, *, thinking: bool) -> list[Sample]:
    """Draw the test prompts of a task, the same ones every time."""
    rng = Random(f"{_SEED} {task} {thinking}")
    return [generate(rng, task, "test", thinking=thinking) for _ in range(count)]


def _questions(task: str, count: int, *, thinking: bool) -> list[Question]:
    samples = test_samples(task, count, thinking=thinking)
    answers = [completion(sample).rsplit(_THOUGHT_END, 1)[-1] for sample in samples]
    return [
        Question(prompt_of(sample), answer) for sample, answer in zip(samples, answers, strict=True)
    ]


def _additions(pairs: list[tuple[int, int]], *, thinking: bool) -> list[Question]:
    return [
        Question(
            render([{"role": "user", "content": ask_addition(a, b)}], enable_thinking=thinking),
            f"= {a + b}.",
            inside=True,
        )
        for a, b in pairs
    ]


def suite(prompts: int) -> dict[str, dict[bool, list[Question]]]:
    """List the questions of every row of the table, by thinking."""
    one_digit = [(a, b) for a in range(10) for b in range(10)]
    both = (True, False)
    rows = {
        "every addition below 100 held out": {
            thinking: _additions(held_out_additions(), thinking=thinking) for thinking in both
        },
        "every one-digit addition": {
            thinking: _additions(one_digit, thinking=thinking) for thinking in both
        },
    }
    for task, thinking in MIX:
        questions = _questions(task, prompts, thinking=thinking)
        rows.setdefault(task, {})[thinking] = questions
    return rows


def _cell(questions: list[Question] | None, texts: dict[str, str]) -> str:
    if not questions:
        return "-"
    right = sum(question.is_answered_by(texts[question.prompt]) for question in questions)
    return f"{100 * right / len(questions):.1f} % ({right} of {len(questions)})"


def evaluate(folder: Path, prompts: int) -> None:
    """Print the table of accuracies, in Markdown."""
    torch.set_num_threads(2)
    model, tokenizer = load_model(folder), load_tokenizer(folder / "tokenizer.json")
    rows = suite(prompts)
    # All rows at once: there are more prompts of one length in many tasks than in one.
    asked = sorted({q.prompt for row in rows.values() for qs in row.values() for q in qs})
    texts = dict(zip(asked, answer_texts(model, tokenizer, asked), strict=True))
    print("| task | thinking | not thinking |\n| --- | --- | --- |")
    for task, row in rows.items():
        cells = [_cell(row.get(thinking), texts) for thinking in (True, False)]
        print(f"| {task} | {cells[0]} | {cells[1]} |")

"""Measure the eyes: greedy answers about held-out pictures, right or wrong as a whole."""

from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from tools.spark.evaluate import continued, stop_tokens
from tools.spark.model import Spark
from tools.spark.seeing import IMAGE, KINDS, Example, held_out_examples
from tools.spark.telling import encode, with_pictures
from tools.spark.turn import Sample
from tools.spark.vision import Vision, load_vision, preprocess

_THOUGHT_END = "</think>\n\n"


def _prompt(tokenizer: Tokenizer, example: Example, patches: int, *, thinking: bool) -> list[int]:
    messages = [{"role": "user", "content": IMAGE + example.question}]
    sample = Sample(example.kind, messages, example.answer, "", thinking)
    return encode(tokenizer, sample, patches)[0]


@torch.inference_mode()
def answers(
    vision: Vision, model: Spark, tokenizer: Tokenizer, examples: list[Example], *, thinking: bool
) -> list[str]:
    """Return the greedy answer to each example, without the thought."""
    patches, stops = vision.shape.patches, stop_tokens(tokenizer)
    prompts = [_prompt(tokenizer, each, patches, thinking=thinking) for each in examples]
    written = [""] * len(examples)
    order = sorted(range(len(examples)), key=lambda index: len(prompts[index]))
    # Prompts of one length go together: no padding, so nothing to mask.
    for _, same in groupby(order, key=lambda index: len(prompts[index])):
        rows = list(same)
        pixels = np.stack([preprocess(examples[index].picture) for index in rows])
        pictures = vision(torch.from_numpy(pixels))
        tokens = torch.tensor([prompts[index] for index in rows])
        embedded = with_pictures(model, tokens, pictures)
        for index, tokens_written in zip(rows, continued(model, embedded, stops), strict=True):
            text = tokenizer.decode(tokens_written, skip_special_tokens=False)
            written[index] = text.rsplit(_THOUGHT_END, 1)[-1]
    return written


def evaluate_vision(folder: Path, model: Spark, tokenizer: Tokenizer, prompts: int) -> None:
    """Print the table of accuracies, in Markdown; *prompts* pictures for each kind of question."""
    torch.set_num_threads(2)
    vision = load_vision(folder)
    print("| question | thinking | not thinking |\n| --- | --- | --- |")
    for kind in (*KINDS, None):
        examples = held_out_examples(prompts, kind)
        cells = []
        for thinking in (True, False):
            said = answers(vision, model, tokenizer, examples, thinking=thinking)
            right = sum(text == each.answer for text, each in zip(said, examples, strict=True))
            cells.append(f"{100 * right / prompts:.1f} % ({right} of {prompts})")
        print(f"| {kind or 'all kinds'} | {cells[0]} | {cells[1]} |")

"""The tokenizer: byte-level BPE, trained on the generated text and split as Qwen2 splits.

The split makes every digit a token of its own, and is one that llama.cpp knows (``qwen2``).
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

MERGES = 512
END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
CONTROL = (END_OF_TEXT, TURN_START, TURN_END)
# Text that the output must show, so not control tokens.
MARKERS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
)  # fmt: skip
VOCABULARY = len(CONTROL) + len(MARKERS) + 256 + MERGES

_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# For learning the merges alone: a word apart from what stands before it. So no merge joins a space
# or a quote to a letter, and a word is the same tokens wherever it stands, which makes it easier to
# copy.
_MERGES_SPLIT = _QWEN2_SPLIT.replace(r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{L}+")


def _splits_at(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train_tokenizer(texts: Iterable[str], path: Path) -> Tokenizer:
    """Train on ``texts`` and save to ``path``; the special tokens take the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _splits_at(_MERGES_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[
            *(AddedToken(token, special=True, normalized=False) for token in CONTROL),
            *(AddedToken(token, special=False, normalized=False) for token in MARKERS),
        ],
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        message = f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {VOCABULARY}"
        raise ValueError(message)
    tokenizer.pre_tokenizer = _splits_at(_QWEN2_SPLIT)
    tokenizer.save(str(path))
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Load what ``train_tokenizer`` saved."""
    return Tokenizer.from_file(str(path))

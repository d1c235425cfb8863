"""The model: Qwen3's decoder in plain PyTorch, small enough to read at one sitting.

Parameter names are Hugging Face's, so that exporters know them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.spark.tokenizer import VOCABULARY


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the model, under the names of Hugging Face's ``config.json``."""

    vocab_size: int = VOCABULARY
    hidden_size: int = 160
    num_hidden_layers: int = 5
    intermediate_size: int = 448
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = 1024
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6


KeyValues = tuple[Tensor, Tensor]


class Norm(nn.Module):
    """RMS normalisation over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` at unit root mean square, scaled."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self._eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    # NEOX order: the first half of a head pairs with the second, not neighbours with each other.
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden, size = shape.hidden_size, shape.head_dim
        self._size = size
        self.q_proj = nn.Linear(hidden, shape.num_attention_heads * size, bias=False)
        self.k_proj = nn.Linear(hidden, shape.num_key_value_heads * size, bias=False)
        self.v_proj = nn.Linear(hidden, shape.num_key_value_heads * size, bias=False)
        self.o_proj = nn.Linear(shape.num_attention_heads * size, hidden, bias=False)
        self.q_norm = Norm(size, shape.rms_norm_eps)
        self.k_norm = Norm(size, shape.rms_norm_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        """Attend causally; with ``past``, ``x`` is the one token that follows it."""
        batch, length, _ = x.shape

        def heads(y: Tensor) -> Tensor:
            return y.view(batch, length, -1, self._size)

        query = _rotate(self.q_norm(heads(self.q_proj(x))).transpose(1, 2), cos, sin)
        key = _rotate(self.k_norm(heads(self.k_proj(x))).transpose(1, 2), cos, sin)
        value = heads(self.v_proj(x)).transpose(1, 2)
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=past is None, enable_gqa=True
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1)), (key, value)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated projection of ``x``."""
        down: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return down


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm and around its residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = FeedForward(shape)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, past: KeyValues | None
    ) -> tuple[Tensor, KeyValues]:
        """Return the layer's output and its keys and values."""
        mixed, kept = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class Spark(nn.Module):
    """The decoder; embeddings and output projection are one matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)
        half = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.outer(torch.arange(shape.max_position_embeddings), shape.rope_theta**-half)
        both = torch.cat((angles, angles), dim=-1)
        self._cos, self._sin = both.cos(), both.sin()

    def forward(
        self, tokens: Tensor, past: list[KeyValues] | None = None
    ) -> tuple[Tensor, list[KeyValues]]:
        """Return the hidden state of each token, and the keys and values of every layer.

        ``tokens``: [batch, length], all rows starting at the same position.
        """
        return self.decode(self.embed_tokens(tokens), past)

    def decode(
        self, x: Tensor, past: list[KeyValues] | None = None
    ) -> tuple[Tensor, list[KeyValues]]:
        """Do the same from embeddings, some of which may be a picture's.

        ``x``: [batch, length, hidden size].
        """
        start = past[0][0].shape[2] if past else 0
        cos = self._cos[start : start + x.shape[1]]
        sin = self._sin[start : start + x.shape[1]]
        kept = []
        for index, layer in enumerate(self.layers):
            x, key_values = layer(x, cos, sin, past[index] if past else None)
            kept.append(key_values)
        return self.norm(x), kept

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of every token of the vocabulary."""
        return functional.linear(hidden, self.embed_tokens.weight)


def new_model(shape: Shape) -> Spark:
    """Create a model with random weights, drawn from torch's seed."""
    model = Spark(shape)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            nn.init.normal_(weight, std=0.02)
        # What adds to the residual starts small, since every layer adds.
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            nn.init.normal_(weight, std=0.02 / (2 * shape.num_hidden_layers) ** 0.5)
    return model


def save_model(model: Spark, folder: Path) -> None:
    """Write ``config.json`` and ``weights.pt``, float32, under Hugging Face's names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(model.shape), indent=2) + "\n")
    torch.save(model.state_dict(), folder / "weights.pt")


def load_model(folder: Path) -> Spark:
    """Read what ``save_model`` wrote."""
    model = Spark(Shape(**json.loads((folder / "config.json").read_text())))
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return model.eval()

"""Write the trained model as one GGUF file: Q8_0 matrices, template and tokenizer.

Q8_0 not for its size alone: llama.cpp computes it the same way however many sequences share a
batch, so an answer is token for token what it is alone. With F16 other kernels serve larger
batches, and logits differ in their last bits.
"""

import json
from pathlib import Path

import gguf
from tokenizers import Tokenizer

from tools.spark.model import Shape, load_model
from tools.spark.prompt import TEMPLATE_PATH
from tools.spark.tokenizer import CONTROL, END_OF_TEXT, MARKERS, TURN_END, load_tokenizer

F32, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP_NAMES = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}


def gguf_name(name: str) -> str:
    """Return the GGUF name of a weight that Hugging Face calls ``name``."""
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    _, index, rest = name.split(".", 2)
    return f"blk.{index}.{_LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _token_type(token: str) -> gguf.TokenType:
    if token in CONTROL:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.USER_DEFINED if token in MARKERS else gguf.TokenType.NORMAL


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([_token_type(token) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    # No prompt starts with it, but readers that find no such token assume one.
    writer.add_bos_token_id(vocabulary[END_OF_TEXT])
    writer.add_eos_token_id(vocabulary[TURN_END])
    writer.add_pad_token_id(vocabulary[END_OF_TEXT])
    writer.add_add_bos_token(False)  # noqa: FBT003 - its only form
    writer.add_chat_template(TEMPLATE_PATH.read_text(encoding="utf-8"))


def export_gguf(folder: Path, path: Path) -> None:
    """Write the model and tokenizer of ``folder`` to ``path``."""
    model = load_model(folder)
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("spark")
    writer.add_description("The tiny chat model inside Pilotlight")
    _add_shape(writer, model.shape)
    _add_tokenizer(writer, load_tokenizer(folder / "tokenizer.json"))
    for name, weight in model.state_dict().items():
        array = weight.numpy()
        # Norms are few and llama.cpp wants them whole.
        kind = F32 if array.ndim == 1 else Q8_0
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path.name}: {path.stat().st_size} bytes")

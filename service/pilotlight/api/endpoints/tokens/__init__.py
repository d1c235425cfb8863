"""Tokenize and detokenize, as llama-server and vLLM have them."""

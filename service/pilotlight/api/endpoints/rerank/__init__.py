"""Reranking, as Jina, Cohere and Text Embeddings Inference have it."""

"""The llama.cpp backend: GGUF models, continuous batching on a thread of its own."""

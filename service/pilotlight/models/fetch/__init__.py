"""Fetch models from an address: HTTP, the Hugging Face Hub, or a bucket."""

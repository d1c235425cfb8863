"""Train the embedded model spark: data, tokenizer, model, evaluation and export.

Importing this package imports nothing; only ``model``, ``train``, ``evaluate`` and the exporters
need PyTorch.
"""
